"""Embeddings from a server that speaks OpenAI's /v1/embeddings."""

from __future__ import annotations

import http.client
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib import error, request
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from steelyard.core import digest
from steelyard.errors import ModelError, WorkError

BATCH_TEXTS = 64  # of one request. Source: ours
MAX_CHARACTERS = 8_000  # of a text; the rest is cut, as a local model does. Source: ours
MAX_REPLY_BYTES = 64_000_000
TIMEOUT_SECONDS = 60.0
WAITS_SECONDS = (1.0, 4.0, 16.0)  # before trying again
MAX_WAIT_SECONDS = 60.0
AGAIN = frozenset({408, 429, 500, 502, 503, 504})  # statuses that may pass


class UrlEmbedder:
    """The vectors of `model` at `url`, such as https://host/v1, scaled to length 1.

    The key is read from the environment at every request, is sent to `url` alone (no redirect
    is followed) and never stands in a message.

    Raises:
        ModelError: the URL is none, or the variable `key_env` is not set.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str | None = None,
        timeout_s: float = TIMEOUT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(
                f'the embeddings URL "{url}" is none; expected one such as https://host/v1'
            )
        self.place = f"{url.rstrip('/')}/embeddings"
        self.model, self.key_env = model, key_env
        self.timeout_s, self._sleep = timeout_s, sleep
        self.fingerprint = digest(["embeddings", self.place, model])
        self._opener = request.build_opener(_NoRedirect)
        self._width = 0
        self._key()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shapes: N texts → [N, D].

        Raises:
            WorkError: the server did not answer, or not with one vector for each text.
        """
        parts = [
            self._ask([text[:MAX_CHARACTERS] for text in texts[start : start + BATCH_TEXTS]])
            for start in range(0, len(texts), BATCH_TEXTS)
        ]
        if not parts:
            return np.zeros((0, self._width), dtype=np.float32)
        whole: NDArray[np.float32] = np.concatenate(parts)
        return whole

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        reply = self._post(json.dumps(body).encode())
        try:
            rows = sorted(json.loads(reply)["data"], key=lambda row: row["index"])
            found = np.array([row["embedding"] for row in rows], dtype=np.float32)
            numbers = [row["index"] for row in rows]
        except (ValueError, KeyError, TypeError) as reason:
            raise self._failed(f"its answer holds no embeddings ({reason!r})") from reason
        width = self._width or found.shape[-1]
        if found.shape != (len(texts), width) or numbers != list(range(len(texts))):
            raise self._failed(
                f"{len(texts)} texts came back as an array of shape {found.shape}; "
                f"expected {(len(texts), width)}"
            )
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.isfinite(found).all() or not lengths.all():
            raise self._failed("a vector has no direction")
        self._width = width
        unit: NDArray[np.float32] = found / lengths
        return unit

    def _post(self, body: bytes) -> bytes:
        for wait in (*WAITS_SECONDS, None):
            asked = request.Request(self.place, body, {"Content-Type": "application/json"})  # noqa: S310  http(s) alone
            if key := self._key():
                asked.add_unredirected_header("Authorization", f"Bearer {key}")
            advised = 0.0
            try:
                with self._opener.open(asked, timeout=self.timeout_s) as reply:
                    found: bytes = reply.read(MAX_REPLY_BYTES + 1)
                if len(found) > MAX_REPLY_BYTES:
                    raise self._failed(f"its answer is longer than {MAX_REPLY_BYTES} bytes")
                return found
            except error.HTTPError as reason:
                with reason:
                    why = f"status {reason.code}: {reason.read(300).decode(errors='replace')}"
                    advised = _seconds(reason.headers.get("Retry-After"))
                if reason.code not in AGAIN:
                    raise self._failed(why) from reason
            except (OSError, http.client.HTTPException) as reason:  # no connection, a timeout
                why = str(reason) or type(reason).__name__
            if wait is None:
                break
            self._sleep(min(max(wait, advised), MAX_WAIT_SECONDS))
        raise self._failed(f"{why}, {len(WAITS_SECONDS) + 1} times")

    def _key(self) -> str | None:
        if self.key_env is None:
            return None
        if not (key := os.environ.get(self.key_env)):
            raise ModelError(
                f"{self.place}: its key is expected in the environment variable {self.key_env}, "
                "which is not set; set it, or name another"
            )
        return key

    def _failed(self, why: str) -> WorkError:
        return WorkError(f'{self.place}: the embeddings of "{self.model}" did not come: {why}')


class _NoRedirect(request.HTTPRedirectHandler):
    """A redirect is an answer like any other: a key is for the place it was given for."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:  # a date
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0

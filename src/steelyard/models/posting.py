"""Questions to a server that speaks OpenAI's JSON over HTTP: one place of it, asked politely."""

from __future__ import annotations

import http.client
import json
import math
import os
import time
from collections.abc import Callable
from typing import Any
from urllib import error, request
from urllib.parse import urlsplit

from steelyard.core import Json
from steelyard.errors import ModelError, WorkError

MAX_REPLY_BYTES = 64_000_000
TIMEOUT_SECONDS = 60.0
WAITS_SECONDS = (1.0, 4.0, 16.0)  # before trying again
MAX_WAIT_SECONDS = 60.0
AGAIN = frozenset({408, 429, 500, 502, 503, 504})  # statuses that may pass


class Endpoint:
    """What `path` at `url`, such as https://host/v1, gives; `wanted` says it in messages.

    The key is read from the environment at every request, is sent to `url` alone (no redirect
    is followed) and never stands in a message.

    Raises:
        ModelError: the URL is none, or the variable `key_env` is not set.
    """

    max_reply_bytes = MAX_REPLY_BYTES

    def __init__(
        self,
        url: str,
        path: str,
        wanted: str,
        *,
        key_env: str | None = None,
        timeout_s: float = TIMEOUT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(
                f'the URL "{url}" for {wanted} is none; expected one such as https://host/v1'
            )
        self.place = f"{url.rstrip('/')}/{path}"
        self.wanted, self.key_env = wanted, key_env
        self.timeout_s, self._sleep = timeout_s, sleep
        self._opener = request.build_opener(_NoRedirect)
        self._key()

    def post(self, body: Json) -> bytes:
        """The reply to a request, tried again while the server may recover.

        Raises:
            WorkError: none came, or one that says no.
        """
        sent = json.dumps(body).encode()
        for wait in (*WAITS_SECONDS, None):
            asked = request.Request(self.place, sent, {"Content-Type": "application/json"})  # noqa: S310  http(s) alone
            if key := self._key():
                asked.add_unredirected_header("Authorization", f"Bearer {key}")
            advised = 0.0
            try:
                with self._opener.open(asked, timeout=self.timeout_s) as reply:
                    found: bytes = reply.read(self.max_reply_bytes + 1)
                if len(found) > self.max_reply_bytes:
                    raise self.failed(f"its answer is longer than {self.max_reply_bytes} bytes")
                return found
            except error.HTTPError as reason:
                with reason:
                    why = f"status {reason.code}: {reason.read(300).decode(errors='replace')}"
                    advised = _seconds(reason.headers.get("Retry-After"))
                if reason.code not in AGAIN:
                    raise self.failed(why) from reason
            except (OSError, http.client.HTTPException) as reason:  # no connection, a timeout
                why = str(reason) or type(reason).__name__
            if wait is None:
                break
            self._sleep(min(max(wait, advised), MAX_WAIT_SECONDS))
        raise self.failed(f"{why}, {len(WAITS_SECONDS) + 1} times")

    def failed(self, why: str) -> WorkError:
        """The error of a reply that did not come, or was none."""
        return WorkError(f"{self.place}: {self.wanted} did not come: {why}")

    def _key(self) -> str | None:
        if self.key_env is None:
            return None
        if not (key := os.environ.get(self.key_env)):
            raise ModelError(
                f"{self.place}: its key is expected in the environment variable {self.key_env}, "
                "which is not set; set it, or name another"
            )
        return key


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

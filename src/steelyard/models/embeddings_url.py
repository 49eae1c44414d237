"""Embeddings from a server that speaks OpenAI's /v1/embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Json, digest
from steelyard.errors import WorkError
from steelyard.models.posting import Endpoint, Manners

BATCH_TEXTS = 64  # of one request. Source: ours
MAX_CHARACTERS = 8_000  # of a text; the rest is cut, as a local model does. Source: ours


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
        manners: Manners | None = None,
    ) -> None:
        wanted = f'the embeddings of "{model}"'
        self.model = model
        self.endpoint = Endpoint(url, "embeddings", wanted, key_env=key_env, manners=manners)
        self.fingerprint = digest(["embeddings", self.endpoint.place, model])
        self._width = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shapes: N texts → [N, D].

        Raises:
            WorkError: the server did not answer, or not with one vector for each text.
        """
        cut = [text[:MAX_CHARACTERS] for text in texts]
        batches = [cut[i : i + BATCH_TEXTS] for i in range(0, len(cut), BATCH_TEXTS)]
        if not batches:
            return np.zeros((0, self._width), dtype=np.float32)
        parts = []
        replies = self.endpoint.post_all([self._body(batch) for batch in batches])
        for batch, reply in zip(batches, replies, strict=True):
            if isinstance(reply, WorkError):
                raise reply
            parts.append(self._read(reply, batch))
        whole: NDArray[np.float32] = np.concatenate(parts)
        return whole

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """What the server counts is not told for each text: a token for every four characters.

        Source: OpenAI's own rule of thumb for English
        """
        return [-(-len(text[:MAX_CHARACTERS]) // 4) for text in texts]

    def _body(self, texts: list[str]) -> Json:
        return {"model": self.model, "input": texts, "encoding_format": "float"}

    def _read(self, reply: bytes, texts: list[str]) -> NDArray[np.float32]:
        failed = self.endpoint.failed
        try:
            rows = sorted(json.loads(reply)["data"], key=lambda row: row["index"])
            found = np.array([row["embedding"] for row in rows], dtype=np.float32)
            numbers = [row["index"] for row in rows]
        except (ValueError, KeyError, TypeError) as reason:
            raise failed(f"its answer holds no embeddings ({reason!r})") from reason
        width = self._width or found.shape[-1]
        if found.shape != (len(texts), width) or numbers != list(range(len(texts))):
            raise failed(
                f"{len(texts)} texts came back as an array of shape {found.shape}; "
                f"expected {(len(texts), width)}"
            )
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.isfinite(found).all() or not lengths.all():
            raise failed("a vector has no direction")
        self._width = width
        unit: NDArray[np.float32] = found / lengths
        return unit

"""An embedder for threads beside the engine's: it has its texts embedded there, some at a time.

A tokenizer is no good to two threads at once, and answers go on between two parts of a large file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import BusyError, RequestError
from steelyard.lifecycle.engine import Engine, Work
from steelyard.models import Embedder, Listen
from steelyard.serve.catalogue import Catalogue

TEXTS_AT_ONCE = 32  # passages: a few tenths of a second. Source: ours
TRIES = 20  # where the queue of requests is full
WAIT_SECONDS = 0.5  # between two


@dataclass(frozen=True)
class WaitingEmbedder:
    """Vectors made by the engine's thread, in turn with everything else."""

    embedder: Embedder
    engine: Engine

    @property
    def fingerprint(self) -> str:
        return self.embedder.fingerprint

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shapes: N texts → [N, D].

        Raises:
            BusyError: too much else was asked, or the server ends.
        """
        parts = [
            self._in_turn(texts[start : start + TEXTS_AT_ONCE])
            for start in range(0, max(1, len(texts)), TEXTS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.embedder.count_tokens(texts)

    def _in_turn(self, texts: Sequence[str]) -> NDArray[np.float32]:
        def do(items: Sequence[Any], _listen: Listen) -> list[NDArray[np.float32]]:
            return [self.embedder.embed(item) for item in items]

        for tries_left in range(TRIES, -1, -1):
            try:
                found: NDArray[np.float32] = self.engine.submit(Work(self, texts, do)).result()
                return found
            except CancelledError:
                raise BusyError("the server ends") from None
            except BusyError:
                if not tries_left:
                    raise
                time.sleep(WAIT_SECONDS)
        raise AssertionError("the last try returns or raises")


def waiting_embedder(catalogue: Catalogue, engine: Engine) -> tuple[Embedder, str]:
    """What makes the vectors of a server, and what it is opened from elsewhere.

    Raises:
        RequestError: the server has no embedder.
    """
    for own in catalogue.embedders.values():
        return WaitingEmbedder(own.embedder, engine), own.source
    raise RequestError(
        "this server has no embedder; install one as docs/serve.md says",
        status=503,
        code="no_embedder",
    )

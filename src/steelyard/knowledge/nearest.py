"""The k labelled examples nearest to an input (Liu et al. 2021, KATE, arXiv:2101.06804)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steelyard.core import Example
from steelyard.models import Embedder


class NearestExamples:
    """Exact cosine search over the embedded inputs of a pool."""

    def __init__(self, pool: Sequence[Example], embedder: Embedder) -> None:
        self._pool = tuple(pool)
        self._embedder = embedder
        self._vectors = embedder.embed([example.input for example in pool])

    def nearest(
        self, inputs: Sequence[str], k: int, *, among: Sequence[Sequence[int]] | None = None
    ) -> list[list[Example]]:
        """For each input, its k nearest examples, the nearest last, next to the question.

        `among` holds, for each input, the numbers in the pool of those that it may see, rising.
        Ties go to the earlier example of the pool, so that a prompt is the same every time.
        Shapes: N inputs × P pool → N lists of k.
        """
        similarity = self._embedder.embed(inputs) @ self._vectors.T
        # Rounded, so that the last bits of a sum do not decide between duplicates.
        far = -np.round(similarity, 5)
        found = []
        for number, row in enumerate(far):
            seen = np.arange(len(row)) if among is None else np.asarray(among[number], dtype=int)
            order = seen[np.argsort(row[seen], kind="stable")[:k]]
            found.append([self._pool[i] for i in order[::-1]])
        return found

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

    def nearest(self, inputs: Sequence[str], k: int) -> list[list[Example]]:
        """For each input, its k nearest examples, the nearest last, next to the question.

        Ties go to the earlier example of the pool, so that a prompt is the same every time.
        Shapes: N inputs × P pool → N lists of k.
        """
        similarity = self._embedder.embed(inputs) @ self._vectors.T
        # Rounded, so that the last bits of a sum do not decide between duplicates.
        order = np.argsort(-np.round(similarity, 5), axis=1, kind="stable")[:, :k]
        return [[self._pool[i] for i in row[::-1]] for row in order]

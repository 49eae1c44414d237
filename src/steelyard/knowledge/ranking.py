"""Rankings: the k best of many scores, and one ranking of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RRF_K = 60  # Source: Cormack, Clarke & Büttcher 2009, 3: fixed in a pilot, not critical


def best(scores: NDArray[np.float32], k: int, *, decimals: int = 5) -> NDArray[np.int64]:
    """The places of the k largest scores but −∞, the largest first, of equals the earlier first.

    Scores are equal that are so when rounded: the last bits of a sum do not decide.
    Shapes: [P] → [≤ k].

    >>> best(np.array([0.1, 0.7, -np.inf, 0.700000001], dtype=np.float32), 3).tolist()
    [1, 3, 0]
    """
    places = np.flatnonzero(scores > -np.inf)
    if 0 < k < len(places):
        # The smallest of the negative ones: NumPy is slow at large ones among many equals.
        cut = -np.partition(-scores[places], k - 1)[k - 1]
        places = np.flatnonzero(scores >= cut - 10.0**-decimals)
    order = np.argsort(-np.round(scores[places], decimals), kind="stable")
    return places[order[:k]]


def fuse(rankings: Sequence[Sequence[int]], *, k: int = RRF_K) -> list[tuple[int, float]]:
    """One ranking of several, by reciprocal rank fusion: each with its sum of 1 / (k + rank).

    Of equals the one that stands first in the earliest ranking comes first.

    >>> [name for name, _ in fuse([[1, 2, 3], [3, 1]])]
    [1, 3, 2]

    Source: Cormack, Clarke & Büttcher 2009, doi:10.1145/1571941.1572114.
    """
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(ranking, start=1):
            sums[name] = sums.get(name, 0.0) + 1 / (k + rank)
    return sorted(sums.items(), key=lambda pair: -pair[1])

"""MinHash: sets that resemble each other share a number, so that look-alikes are found unseen.

The smallest hash over a set is equal for two sets as often as they resemble each other (Jaccard);
a band of several of them is equal only for near ones, and of several bands one is enough.

Source: Broder 1997, "On the resemblance and containment of documents"; bands: Leskovec et al.,
Mining of Massive Datasets, 3.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
SEED = 0x57EE1  # one family of hash functions, the same for ever: numbers of it are stored


class MinHash:
    """Runs of `shingle` tokens, hashed into `bands` numbers of `rows` smallest hashes each.

    Two sets of resemblance s share a band with probability 1 − (1 − s^rows)^bands.
    """

    def __init__(self, *, shingle: int, bands: int, rows: int) -> None:
        random = np.random.default_rng(SEED)
        self.shingle, self._shape = shingle, (bands, rows)

        def odd(*size: int) -> Hashes:
            drawn: Hashes = random.integers(1, 2**63, size=size, dtype=np.uint64)
            return drawn | np.uint64(1)

        self._factors = odd(bands * rows, 1)
        self._offsets: Hashes = random.integers(0, 2**63, size=(bands * rows, 1), dtype=np.uint64)
        self._places = odd(shingle)
        self._rows = odd(rows)

    def shingles(self, tokens: Hashes | Sequence[int]) -> Hashes:
        """A number for each run of tokens, in order. Shapes: [T] → [T − shingle + 1], or [0]."""
        numbers = np.asarray(tokens, dtype=np.uint64)
        if len(numbers) < self.shingle:
            return np.empty(0, dtype=np.uint64)
        windows = np.lib.stride_tricks.sliding_window_view(numbers, self.shingle)
        found: Hashes = (windows * self._places).sum(axis=1, dtype=np.uint64)
        found ^= found >> np.uint64(29)
        return found

    def bands(self, shingles: Hashes) -> Hashes:
        """The bands of a set of at least one shingle. Shapes: [any] → [bands]."""
        mixed = self._factors * shingles[None, :] + self._offsets
        smallest = (mixed >> np.uint64(16)).min(axis=1).reshape(self._shape)
        numbers = np.arange(self._shape[0], dtype=np.uint64) + np.uint64(1)
        found: Hashes = (smallest * self._rows).sum(axis=1, dtype=np.uint64) * (
            numbers * np.uint64(2) + np.uint64(1)
        )
        return found

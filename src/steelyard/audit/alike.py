"""Texts that are nearly the same: found by MinHash, confirmed on their rarer letters.

Texts are compared as sets of runs of four letters (case, punctuation and spacing aside), because
inputs are short and have typing errors, which runs of words do not survive. A run weighs the less
the more texts have it, so that what a template says in every row makes no two rows alike.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from steelyard.knowledge.minhash import Hashes, MinHash

# Source of the next four: ours, measured in docs/log/2026-11-26-compare-and-check.md.
SHINGLE = 4  # letters
SIMILARITY = 0.5  # of the weights of both sets together, the share that they have in common
SURE = 0.7  # below, short questions on one matter are alike too without being copies
COMMON_SHARE = 0.1  # a run that so many texts have finds no candidates
# 94 % of the pairs whose rarer runs resemble each other by 0.6 are looked at: 1 − (1 − 0.6^4)^20.
BANDS, ROWS = 20, 4
CROWD = 30  # texts of one band that a further one is compared with. Source: ours
LEAST_SHINGLES = 8  # a text with fewer rare runs is looked up by all it has

_HASH = MinHash(shingle=SHINGLE, bands=BANDS, rows=ROWS)
_NOT_A_WORD = re.compile(r"[^\w]+|_+")


def normal(text: str) -> str:
    """A text without what does not matter: case, punctuation, spacing.

    >>> normal("  Where's my CARD?! ")
    'where s my card'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_A_WORD.sub(" ", folded).strip() or folded.strip()


def near_pairs(
    texts: Sequence[str], *, similarity: float = SIMILARITY
) -> list[tuple[int, int, float]]:
    """Pairs of numbers of texts that are nearly the same, and how alike they are (up to 1).

    A text with more than `CROWD` look-alikes is paired with some of them only.
    """
    sets = [_shingles(text) for text in texts]
    if len(sets) < 2:
        return []
    found, counts = np.unique(np.concatenate(sets), return_counts=True)
    weights = np.log((len(sets) + 1) / counts)
    common = found[counts > max(3.0, COMMON_SHARE * len(sets))]
    weight_of = {int(run): float(weight) for run, weight in zip(found, weights, strict=True)}
    looked_up = [_rare(runs, common) for runs in sets]
    plain = [{int(run) for run in runs} for runs in sets]
    totals = [math.fsum(weight_of[run] for run in runs) for runs in plain]
    pairs = []
    for a, b in sorted(_candidates(looked_up)):
        if plain[a] == plain[b]:
            pairs.append((a, b, 1.0))
            continue
        shared = math.fsum(weight_of[run] for run in plain[a] & plain[b])
        alike = shared / (totals[a] + totals[b] - shared)
        if alike >= similarity:
            pairs.append((a, b, alike))
    return pairs


def _shingles(text: str) -> Hashes:
    """The runs of a text, its ends marked by a space so that short words have some."""
    letters = f" {normal(text)} ".ljust(SHINGLE)
    return np.unique(_HASH.shingles([ord(letter) for letter in letters]))


def _rare(runs: Hashes, common: Hashes) -> Hashes:
    rare = np.setdiff1d(runs, common, assume_unique=True)
    return rare if len(rare) >= LEAST_SHINGLES else runs


def _candidates(sets: Sequence[Hashes]) -> set[tuple[int, int]]:
    homes: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    candidates: set[tuple[int, int]] = set()
    for number, runs in enumerate(sets):
        for band in enumerate(_HASH.bands(runs).tolist()):
            home = homes[band]
            candidates.update((other, number) for other in home)
            if len(home) < CROWD:
                home.append(number)
    return candidates

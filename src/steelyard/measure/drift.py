"""Signs that what a release is asked, or what users say to it, is not as it was: pure functions.

    a sample of traffic against a reference          p value of    looks
      embeddings    energy distance, permuted         one look      each look is a test
      shares        mean of [0, 1], permuted          one look      each look is a test
      rates         Fisher's exact test               one look      each look is a test
    scores of feedback against the first ones         any time      one, however often looked at

Each sign says there is drift when its p value is at most its level. `level` shares a false-alarm
rate out among the signs of a look, so that while nothing changes at most that share of looks raises
any alarm at all (a union bound). P values of permutations are valid for any number of them (Phipson
and Smyth 2010, "Permutation p-values should never be zero"). Source of the energy distance: Székely
and Rizzo 2013.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.measure.race import anytime_p_values, log_wealth

FALSE_ALARMS = 0.01  # of looks at what did not change that raise any alarm. Source: ours
PERMUTATIONS = 1999  # so that a p value can be as small as 0.0005. Source: ours
MOST = 300  # rows of a sample: their distances take 3 MB. Source: ours
LEAST = 20  # rows of a sample; of fewer nothing is said. Source: ours
FIRST = 40  # scores that later ones are held against. Source: ours
MARGINS = np.linspace(0.0, 0.99, 100)  # where the lower end of the first scores is looked for

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign of drift: what was expected, what is seen, and whether chance explains it.

    `p_value` is None where too little was seen.
    """

    name: str
    expected: float | None
    seen: float | None
    p_value: float | None
    level: float
    num_seen: int

    @property
    def alarm(self) -> bool:
        """Whether the p value is at most the level."""
        return self.p_value is not None and self.p_value <= self.level


def level(num_signs: int, false_alarms: float = FALSE_ALARMS) -> float:
    """The level of each of so many signs that are looked at together.

    >>> level(8)
    0.00125
    """
    return false_alarms / num_signs


def moved(
    name: str, reference: NDArray[np.float32], seen: NDArray[np.float32], *, level: float, seed: int
) -> Sign:
    """Whether embeddings come from elsewhere. What is shown is the energy distance, 0 for alike.

    Shapes: [N, D] and [M, D]; of each the last `MOST` are taken.
    """
    one, other = reference[-MOST:], seen[-MOST:]
    if min(len(one), len(other)) < LEAST:
        return Sign(name, 0.0, None, None, level, len(seen))
    both = np.concatenate([one, other]).astype(np.float64)
    squares = np.sum(both**2, axis=1)
    products = both @ both.T
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0))
    weights = np.full(len(both), 1 / len(one))
    weights[len(one) :] = -1 / len(other)
    observed = _energy(distances, weights[None, :])[0]
    p = _share_as_large(observed, _energy(distances, _shuffles(weights, seed)))
    return Sign(name, 0.0, float(observed), p, level, len(seen))


def grown(
    name: str, reference: Sequence[float], seen: Sequence[float], *, level: float, seed: int
) -> Sign:
    """Whether a share in [0, 1] of each request, such as of unseen words, is higher on average."""
    one, other = list(reference)[-MOST:], list(seen)[-MOST:]
    if min(len(one), len(other)) < LEAST:
        return Sign(name, _mean(one), _mean(other), None, level, len(seen))
    values = np.array([*one, *other])
    weights = np.full(len(values), -1 / len(one))
    weights[len(one) :] = 1 / len(other)
    p = _share_as_large(float(weights @ values), _shuffles(weights, seed) @ values)
    return Sign(name, _mean(one), _mean(other), p, level, len(seen))


def more_often(
    name: str, reference: tuple[int, int], seen: tuple[int, int], *, level: float
) -> Sign:
    """Whether something happens more often: its count and of how many, before and now."""
    (was, of_before), (now, of_now) = reference, seen
    expected = was / of_before if of_before else None
    share = now / of_now if of_now else None
    if min(of_before, of_now) < LEAST:
        return Sign(name, expected, share, None, level, of_now)
    from scipy.stats import hypergeom

    p = float(hypergeom.sf(now - 1, of_before + of_now, was + now, of_now))
    return Sign(name, expected, share, p, level, of_now)


def fallen(name: str, scores: Sequence[float], *, level: float) -> Sign:
    """Whether scores in [0, 1], in the order in which they came, are lower than the first ones.

    Half of the level goes to the lower end of the mean of the first `FIRST`, half to a bet that
    later ones stay below that end: together a test that may be looked at after every score.

    Source: Waudby-Smith and Ramdas 2024, as in `race.py`.
    """
    first, later = list(scores[:FIRST]), list(scores[FIRST:])
    if len(first) < FIRST or not later:
        return Sign(name, _mean(first), _mean(later), None, level, len(later))
    return below(name, lower_end(first, level / 2), later, level=level, expected=_mean(first))


def below(
    name: str, floor: float, scores: Sequence[float], *, level: float, expected: float | None
) -> Sign:
    """Whether scores stay below a floor that holds with all but half of the level."""
    p = anytime_p_values([floor - score for score in scores])
    both = min(1.0, 2 * float(p[-1]))
    return Sign(name, expected, _mean(scores), both, level, len(scores))


def paired_below(
    name: str, ours: Sequence[float], theirs: Sequence[float], *, level: float
) -> Sign:
    """Whether `ours` score lower than `theirs`, of the same time: each beside one of the others in
    the order in which they came, by a bet that may be looked at after every score."""
    pairs = list(zip(ours, theirs, strict=False))
    p = anytime_p_values([other - own for own, other in pairs])[-1] if pairs else None
    seen, expected = _mean([own for own, _ in pairs]), _mean([other for _, other in pairs])
    return Sign(name, expected, seen, None if p is None else float(p), level, len(pairs))


def lower_end(scores: Sequence[float], level: float) -> float:
    """What the mean of scores in [0, 1] is above, in all but a share `level` of studies."""
    bar = -math.log(level)

    def is_too_high(margin: float) -> bool:
        return bool(log_wealth(scores, margin=margin).max() < bar)

    # Against a higher margin no bet is worth more: the first that is too high is found by halves.
    num_shown = bisect_left(MARGINS, True, key=is_too_high)
    return float(MARGINS[num_shown - 1]) if num_shown else 0.0


def _energy(distances: Floats, weights: Floats) -> Floats:
    """Minus the quadratic form of the weights (+1/n here, −1/m there) in the distances.

    Shapes: [K, K] and [R, K] → [R].
    """
    return np.asarray(-np.einsum("rk,rk->r", weights @ distances, weights))


def _shuffles(weights: Floats, seed: int) -> Floats:
    rows = np.tile(weights, (PERMUTATIONS, 1))
    return np.asarray(np.random.default_rng(seed).permuted(rows, axis=1))


def _share_as_large(observed: float, shuffled: Floats) -> float:
    close = 1e-12 * max(1.0, abs(observed))  # a permutation that is the sample itself
    return float((1 + np.count_nonzero(shuffled >= observed - close)) / (1 + len(shuffled)))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

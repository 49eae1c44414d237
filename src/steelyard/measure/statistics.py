"""How sure a mean or a difference is, and how much a test can tell.

    scores per example ─ group ─→ sums and sizes per cluster
                                    + two pseudo-clusters, one at each end of the scale
                                    ─ resample clusters ─→ sorted means ─→ interval and p value

Every interval here is an expanded percentile bootstrap over clusters (Hesterberg 2015,
arXiv 1411.5279). The two pseudo-clusters are the bootstrap form of the intervals that add
observations before they count (Agresti and Coull 1998; Agresti and Min 2005; Bonett and Price
2012): without them five ties in a row would "prove" that two systems are equal. Why this method
and not another, with its measured coverage: docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import TrialError

Floats = NDArray[np.float64]
Scores = Sequence[float] | Floats
Interval = tuple[float, float]
OpenInterval = tuple[float, float | None]

RESAMPLES = 5_000
# How many clusters' worth of belief the widest possible spread has before any data.
# Source: ours, docs/statistics.md: of 1, 1/2 and 1/4 the least over-coverage, none under 93.5 %.
PRIOR_CLUSTERS = 0.25
# One chunk of resampling counts: 4 arrays of 8 bytes a cell, 16 MB. Source: ours.
CELLS_PER_CHUNK = 500_000


@dataclass(frozen=True, slots=True)
class PairedResult:
    """The difference `a − b` of two mean scores on the same examples, and how sure it is.

    `p_value` is below 1 − confidence exactly when `interval` excludes 0. `disagreement` is the
    mean squared difference per example: for scores of 0 and 1 the share of examples on which
    the two disagree. It is what `examples_needed` asks for.
    """

    difference: float
    interval: Interval
    p_value: float
    num_examples: int
    num_groups: int
    disagreement: float


# ---------------------------------------------------------------- means and differences


def mean_interval(
    scores: Scores,
    groups: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Where the mean score of one system lies on examples like these.

    The pseudo-clusters score 0 and 1. They have the size of a mean cluster when the scores
    are all 0 or 1, and less the less the scores vary, so that 100 answers near 0.8 are not
    drawn towards 0.5.

    Raises:
        TrialError: fewer than 2 examples or 2 groups, or a score outside [0, 1].
    """
    where = "interval of a mean"
    _check_share(where, confidence=confidence)
    (values,), cluster = _read(where, {"scores": scores}, groups, highest=1.0)
    sums, sizes = _by_cluster(values, cluster)
    mean, mean_size = values.mean(), sizes.mean()
    spread = np.sum(((sums - mean * sizes) / mean_size) ** 2)
    widest = len(sums) * mean * (1 - mean)
    # Spread in units of the widest that this mean allows (every cluster all 0 or all 1).
    share = min(1.0, (PRIOR_CLUSTERS + spread) / (PRIOR_CLUSTERS + widest))
    half = share * mean_size / 2
    means = _bootstrap_with_ends(
        sums, sizes, (half, half, 2 * half), seed=seed, resamples=resamples
    )
    p_values = _p_values(len(means), len(sums) + 2)
    return _interval(means, p_values, confidence, limits=(0.0, 1.0))


def paired(
    a: Scores,
    b: Scores,
    groups: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedResult:
    """How much higher `a` scores than `b` on the same examples.

    The pseudo-clusters differ by plus and minus the typical size of the differences seen, and
    by plus and minus 1 when none was seen: then the interval is about ±3 in (groups + 2).

    Raises:
        TrialError: fewer than 2 examples or 2 groups, different lengths, or a score outside
            [0, 1].
    """
    where = "paired comparison"
    _check_share(where, confidence=confidence)
    (left, right), cluster = _read(where, {"a": a, "b": b}, groups, highest=1.0)
    differences = np.round(left - right, 12)  # 0.1 + 0.2 against 0.3 is a tie
    sums, sizes = _by_cluster(differences, cluster)
    mean_size = sizes.mean()
    num_differing = np.count_nonzero(np.bincount(cluster, weights=differences != 0))
    typical = math.sqrt(
        (PRIOR_CLUSTERS + np.sum((sums / mean_size) ** 2)) / (PRIOR_CLUSTERS + num_differing)
    )
    ends = (0.0, min(1.0, typical) * mean_size, mean_size)
    means = _bootstrap_with_ends(sums, sizes, ends, seed=seed, resamples=resamples)
    p_values = _p_values(len(means), len(sums) + 2)
    beyond_zero = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return PairedResult(
        difference=float(differences.mean()),
        interval=_interval(means, p_values, confidence, limits=(-1.0, 1.0)),
        p_value=float(p_values[beyond_zero]),
        num_examples=len(differences),
        num_groups=len(sums),
        disagreement=float(np.mean(differences**2)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, in their order, adjusted for having made all these comparisons.

    Raises:
        TrialError: a p value outside [0, 1].
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    raw = np.asarray(p_values, dtype=np.float64)
    wrong = np.flatnonzero(~((raw >= 0) & (raw <= 1)))
    if wrong.size:
        at = int(wrong[0])
        raise TrialError(
            f"Holm correction: p value {at} is {raw[at]}. A number from 0 to 1 is expected: "
            "leave out comparisons that were not made."
        )
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    remaining = np.arange(len(raw), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * remaining))
    return [float(value) for value in adjusted]


# ---------------------------------------------------------------- before anything is measured


def minimum_detectable_difference(
    num_examples: int,
    *,
    disagreement: float = 0.3,
    power: float = 0.8,
    confidence: float = 0.95,
) -> float:
    """The smallest true difference that a paired test on so many examples finds mostly.

    `power` says how often. Examples of one group tell less than as many independent ones: give
    the number of groups for a cautious figure. Inverse of `examples_needed`.

    Raises:
        TrialError: fewer than 2 examples, or a share outside its range.
    """
    where = "minimum detectable difference"
    if num_examples < 2:
        raise TrialError(
            f"{where}: {num_examples} example(s). At least 2 are needed: add labelled rows."
        )
    _check_share(where, disagreement=disagreement, power=power, confidence=confidence)
    z_squared = _planning_constant(power, confidence)
    return math.sqrt(z_squared * disagreement / (num_examples + z_squared))


def detectable_difference(
    interval: Interval, *, power: float = 0.8, confidence: float = 0.95
) -> float:
    """The smallest true difference that a comparison as sure as this one finds mostly.

    After the fact, where `minimum_detectable_difference` plans: the width of the interval says
    how far the difference varies, with groups, ties and graded scores as they are in the data.
    `power` says how often "mostly" is; `confidence` is the interval's.

    Raises:
        TrialError: a share outside its range.
    Source: (z_{α/2} + z_β) standard errors, Miller 2024, arXiv 2411.00640, section 5; the
        interval is z_{α/2} of them to each side.
    """
    from scipy.special import ndtri

    _check_share("detectable difference", power=power, confidence=confidence)
    low, high = interval
    reach = math.sqrt(_planning_constant(power, confidence)) / float(ndtri((1 + confidence) / 2))
    return min(1.0, (high - low) / 2 * reach)


def examples_needed(
    difference: float,
    *,
    disagreement: float = 0.3,
    power: float = 0.8,
    confidence: float = 0.95,
) -> int:
    """How many examples a paired test needs to find a true difference of this size mostly.

    n = (z_{α/2} + z_β)² · (disagreement − difference²) / difference², rounded up, at least 2:
    a difference has the variance disagreement − difference².

    Raises:
        TrialError: a difference outside (0, 1], or a share outside its range.
    Source: the paired sample size of Miller 2024, arXiv 2411.00640.
    """
    where = "examples needed"
    if not 0 < difference <= 1:
        raise TrialError(
            f"{where}: difference is {difference}. A share above 0 and up to 1 is expected, "
            "for instance 0.05 for five points."
        )
    _check_share(where, disagreement=disagreement, power=power, confidence=confidence)
    z_squared = _planning_constant(power, confidence)
    exact = z_squared * (disagreement / difference**2 - 1)
    return max(2, math.ceil(exact - 1e-9))  # a rounding error above a whole number is not one more


# ---------------------------------------------------------------- costs


def cost_interval(
    costs: Scores, groups: Sequence[Hashable], *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Where the mean of costs that were paid lies; `groups` are observed together.

    Raises:
        TrialError: fewer than 2 costs or 2 groups, or a cost that is negative or not finite.
    """
    where = "interval of a cost"
    _check_share(where, confidence=confidence)
    (values,), cluster = _read(where, {"costs": costs}, groups, highest=math.inf)
    means = _resampled_means(values, cluster, seed)
    rule = _p_values(RESAMPLES, int(cluster.max()) + 1)
    return _interval(means, rule, confidence, limits=(0.0, math.inf))


def _resampled_means(values: Floats, cluster: NDArray[np.int64], seed: int) -> Floats:
    """Sorted means of resampled clusters, without the pseudo-clusters of scores."""
    sums, sizes = _by_cluster(values, cluster)
    draws = _draws(len(sums), seed=seed, resamples=RESAMPLES)
    return np.sort(np.concatenate([(counts @ sums) / (counts @ sizes) for counts in draws]))


def break_even(
    setup_a: float,
    costs_a: Scores,
    setup_b: float,
    costs_b: Scores,
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float | None, OpenInterval | None]:
    """After how many calls `a`, with its set-up, has become the cheaper one for good.

    0.0 when it is from the first call, None when it never is. The second value is the interval
    of that number; its upper end is None when `a` may never overtake, and it is None itself
    when no resample overtakes. Costs are prices that were paid, not draws from a scale, so that
    equal costs give an interval without width.

    Units: `setup_*` and `costs_*` in one currency; `costs_*` per call, of the same examples.
    Raises:
        TrialError: fewer than 2 examples or 2 groups, different lengths, or a cost that is
            negative or not finite.
    """
    where = "break-even"
    _check_share(where, confidence=confidence)
    for name, setup in (("setup_a", setup_a), ("setup_b", setup_b)):
        if not 0 <= setup < math.inf:
            raise TrialError(
                f"{where}: {name} is {setup}. A finite cost of 0 or more is expected: "
                "price the set-up first."
            )
    (left, right), cluster = _read(
        where, {"costs_a": costs_a, "costs_b": costs_b}, groups, highest=math.inf
    )
    savings = _resampled_means(right - left, cluster, seed)
    rule = _p_values(RESAMPLES, int(cluster.max()) + 1)
    least, most = _interval(savings, rule, confidence, limits=(-math.inf, math.inf))
    extra_setup = setup_a - setup_b
    earliest = _calls(extra_setup, most)
    calls = _calls(extra_setup, float(np.mean(right - left)))
    return calls, None if earliest is None else (earliest, _calls(extra_setup, least))


def _calls(extra_setup: float, saving_per_call: float) -> float | None:
    """Calls that pay back the extra set-up, or None when they never do."""
    if saving_per_call > 0:
        return max(0.0, extra_setup) / saving_per_call
    return 0.0 if saving_per_call == 0 and extra_setup < 0 else None


# ---------------------------------------------------------------- the bootstrap


def _draws(clusters: int, *, seed: int, resamples: int) -> Iterator[Floats]:
    """How often each cluster was drawn, in chunks of resamples so that memory stays flat.

    Shapes: each chunk [resamples in the chunk, clusters].
    """
    if resamples * clusters <= CELLS_PER_CHUNK:
        yield _kept_draw(clusters, seed, resamples)
        return
    rng = np.random.default_rng(seed)
    per_chunk = max(1, CELLS_PER_CHUNK // clusters)
    for start in range(0, resamples, per_chunk):
        yield _draw(rng, min(per_chunk, resamples - start), clusters)


# A verdict compares many recipes on the same examples: two draws are kept, of at most 4 MB each,
# one with the pseudo-clusters, for scores, and one without, for costs. Source: ours.
@lru_cache(maxsize=2)
def _kept_draw(clusters: int, seed: int, resamples: int) -> Floats:
    """All of a small draw, to be read only."""
    counts = _draw(np.random.default_rng(seed), resamples, clusters)
    counts.setflags(write=False)
    return counts


def _draw(rng: np.random.Generator, resamples: int, clusters: int) -> Floats:
    """How often each cluster was drawn. Shapes: [resamples, clusters]."""
    drawn = rng.integers(clusters, size=(resamples, clusters))
    drawn += np.arange(resamples)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=resamples * clusters)
    return counts.reshape(resamples, clusters).astype(np.float64)


def _bootstrap_with_ends(
    sums: Floats, sizes: Floats, ends: tuple[float, float, float], *, seed: int, resamples: int
) -> Floats:
    """Sorted means of resampled clusters, two pseudo-clusters among them.

    `ends` is (centre, reach, size): the two have sums centre − reach and centre + reach. Each
    resample counts twice, the second time with the two exchanged, so that exchanging a and b
    mirrors the result exactly.

    Shapes: sums, sizes [clusters] → [2 · resamples].
    """
    centre, reach, size = ends
    means = []
    for counts in _draws(len(sums) + 2, seed=seed, resamples=resamples):
        low, high = counts[:, -2], counts[:, -1]
        middle = counts[:, :-2] @ sums + (low + high) * centre
        total = counts[:, :-2] @ sizes + (low + high) * size
        shift = (high - low) * reach
        means += [(middle + shift) / total, (middle - shift) / total]
    return np.sort(np.round(np.concatenate(means), 12))  # a mean of 1e-17 is a tie


@lru_cache(maxsize=8)  # as many numbers of groups as a verdict has
def _p_values(resamples: int, clusters: int) -> Floats:
    """The two-sided p value for every count of resamples on the far side of 0.

    A percentile interval is too narrow by √((C − 1) / C) and takes the normal for the t: the
    count's normal quantile is read as a t quantile with C − 1 degrees of freedom.

    Shapes: [resamples + 1], increasing.
    Source: Hesterberg 2015, arXiv 1411.5279, expanded percentile interval, inverted; one is
    added to count and number as in Davison and Hinkley 1997, equation 4.11.
    """
    from scipy.special import ndtri, stdtr

    share = (np.arange(resamples + 1) + 1) / (resamples + 1)
    quantile = ndtri(share) * math.sqrt((clusters - 1) / clusters)
    p_values = np.asarray(np.minimum(1.0, 2 * stdtr(clusters - 1, quantile)))
    p_values.setflags(write=False)
    return p_values


def _interval(means: Floats, p_values: Floats, confidence: float, *, limits: Interval) -> Interval:
    """The values that a test at this confidence does not reject; `limits` when it cannot tell."""
    rank = np.count_nonzero(p_values < 1 - confidence) - 1
    if rank < 0:
        return limits
    lowest, highest = limits
    return max(lowest, float(means[rank])), min(highest, float(means[-1 - rank]))


def _by_cluster(values: Floats, cluster: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Sum and size of each cluster."""
    sums = np.bincount(cluster, weights=values)
    return sums.astype(np.float64), np.bincount(cluster).astype(np.float64)


# ---------------------------------------------------------------- what was given


def _read(
    where: str,
    columns: Mapping[str, Scores],
    groups: Sequence[Hashable] | None,
    *,
    highest: float,
) -> tuple[list[Floats], NDArray[np.int64]]:
    """The columns as arrays and the cluster number of each example, or an error that says why."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if groups is not None:
        lengths["groups"] = len(groups)
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise TrialError(
            f"{where}: {found}. As many of each as there are examples are expected: "
            "take the examples that all of them have."
        )
    num_examples = next(iter(lengths.values()))
    if num_examples < 2:
        raise TrialError(
            f"{where}: {num_examples} example(s). At least 2 are needed for an interval: "
            "measure on more examples."
        )
    for name, values in arrays.items():
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values <= highest)))
        if wrong.size:
            at = int(wrong[0])
            expected = "A score from 0 to 1" if highest == 1 else "A finite cost of 0 or more"
            raise TrialError(
                f"{where}: {name}[{at}] is {values[at]}. {expected} is expected: "
                "count an example without one apart, as an error."
            )
    numbers: dict[Hashable, int] = {}
    names = range(num_examples) if groups is None else groups
    cluster = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    if len(numbers) < 2:
        raise TrialError(
            f"{where}: all {num_examples} examples are in one group. At least 2 groups are "
            "needed, because a group counts as one observation: add examples of other groups."
        )
    return list(arrays.values()), cluster


def _check_share(where: str, **shares: float) -> None:
    for name, value in shares.items():
        if not (0 < value < 1 or (name == "disagreement" and value == 1)):
            example = {"confidence": 0.95, "power": 0.8, "disagreement": 0.3}[name]
            raise TrialError(
                f"{where}: {name} is {value}. A share between 0 and 1 is expected, "
                f"for instance {example}."
            )


def _planning_constant(power: float, confidence: float) -> float:
    """(z_{α/2} + z_β)², the figure that sample sizes are multiples of."""
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2) + ndtri(power)) ** 2

"""How often the intervals of steelyard.measure.statistics cover the truth, beside their peers.

    python bench/coverage.py --simulations 2000

Each row is one kind of data with a known truth, simulated many times. A 95 % interval should
cover it 95 % of the time; "finds" is the share of studies with p < .05: false alarms where the
truth is 0, power elsewhere. Every method sees the same simulated data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from steelyard.measure import statistics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Values = Callable[[np.random.Generator, tuple[int, ...]], Floats]
RESAMPLES = 999
ALPHA = 0.05
PEERS = ("percentile", "expanded", "cluster t", "bootstrap-t")


@dataclass(frozen=True)
class Scenario:
    """Differences (or scores) with a known mean; `alike` is how far a group answers as one."""

    name: str
    values: Values
    truth: float
    num_groups: int
    largest_group: int = 1
    alike: float = 0.0

    def study(self, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """One study: a value and a group number per example."""
        sizes = rng.integers(1, self.largest_group + 1, self.num_groups)
        groups = np.repeat(np.arange(self.num_groups), sizes)
        shared = self.values(rng, (self.num_groups,))[groups]
        own = self.values(rng, (len(groups),))
        return np.where(rng.random(len(groups)) < self.alike, shared, own), groups


def flips(disagreement: float, won: float) -> tuple[str, Values, float]:
    """0/1 scores: `disagreement` of the examples differ, `won` of those for the first system."""

    def values(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        draw = rng.random(shape)
        return np.where(draw < disagreement * won, 1.0, np.where(draw < disagreement, -1.0, 0.0))

    name = f"0/1, {disagreement:.0%} differ, {won:.0%} of them one way"
    return name, values, disagreement * (2 * won - 1)


def graded(ties: float, spread: float) -> tuple[str, Values, float]:
    """Graded scores: `ties` of the examples tie, the others differ by up to ± `spread`."""

    def values(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.where(rng.random(shape) < ties, 0.0, spread * (2 * rng.beta(2, 2, shape) - 1))

    return f"graded, {ties:.0%} tie, others within ±{spread}", values, 0.0


def fields(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.choice([0, 0.25, -0.25, 1, -1], p=[0.6, 0.2, 0.1, 0.07, 0.03], size=shape)


def right(share: float) -> tuple[str, Values, float]:
    def values(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return (rng.random(shape) < share).astype(np.float64)

    return f"0/1, {share:.0%} right", values, share


def perfect_or_half(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return np.where(rng.random(shape) < 0.7, 1.0, rng.beta(5, 5, shape))


FIELDS: tuple[str, Values, float] = ("fields, quarters and flips, skewed", fields, 0.065)
KINDS = (flips(0.1, 0.5), flips(0.1, 0.8), flips(0.3, 0.5), flips(0.3, 0.7))
PAIRED = (
    *(Scenario(*flips(0.02, 0.5), n) for n in (20, 100, 300)),
    *(Scenario(*kind, n) for n in (20, 50, 100, 300) for kind in KINDS),
    *(Scenario(*kind, n) for n in (20, 50, 100) for kind in (graded(0.5, 0.5), graded(0, 0.1))),
    *(Scenario(*FIELDS, n) for n in (20, 50, 100, 300)),
    *(
        Scenario(*kind, n, largest_group=10, alike=alike)
        for n in (10, 20, 40, 80)
        for alike in (0.5, 1.0)
        for kind in (flips(0.3, 0.5), flips(0.3, 0.7), graded(0.5, 0.5), FIELDS)
    ),
)
MEANS = (
    *(Scenario(*right(share), n) for n in (20, 50, 100, 300) for share in (0.5, 0.8, 0.95, 0.99)),
    *(
        Scenario("70 % perfect, others near half", perfect_or_half, 0.85, n)
        for n in (20, 50, 100, 300)
    ),
    *(Scenario(*right(0.8), n, largest_group=10, alike=0.5) for n in (10, 20, 40, 80)),
)


def peer_intervals(values: Floats, groups: Ints, counts: Floats) -> dict[str, Floats]:
    """Four usual intervals over the same clusters. Shapes: counts [resamples, clusters]."""
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups).astype(np.float64)
    clusters, mean = len(sums), values.mean()
    correction = clusters / (clusters - 1)
    error = np.sqrt(correction * np.sum((sums - mean * sizes) ** 2)) / sizes.sum()
    t_quantile = t.ppf(1 - ALPHA / 2, clusters - 1)
    total = counts @ sizes
    means = counts @ sums / total
    squares = (
        counts @ sums**2 - 2 * means * (counts @ (sums * sizes)) + means**2 * (counts @ sizes**2)
    )
    errors = np.sqrt(correction * np.maximum(squares, 0)) / total
    away = np.abs(means - mean)
    ratio = np.divide(away, errors, out=np.where(away > 1e-12, 1e9, 0.0), where=errors > 1e-12)
    tail = norm.cdf(-t_quantile * np.sqrt(correction))
    half = np.quantile(ratio, 1 - ALPHA) * error
    return {
        "percentile": np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2]),
        "expanded": np.quantile(means, [tail, 1 - tail]),
        "cluster t": mean + np.array([-1, 1]) * t_quantile * error,
        "bootstrap-t": mean + np.array([-1, 1]) * half,
    }


def coverage(
    scenario: Scenario, simulations: int, rng: np.random.Generator
) -> tuple[str, list[float], list[float]]:
    """One row of the table, and every method's coverage in per cent and mean width."""
    chance = np.full(scenario.num_groups, 1 / scenario.num_groups)
    counts = rng.multinomial(scenario.num_groups, chance, size=RESAMPLES).astype(np.float64)
    covered, found = dict.fromkeys(("steelyard", *PEERS), 0), 0
    width = dict.fromkeys(covered, 0.0)
    for seed in range(simulations):
        values, groups = scenario.study(rng)
        intervals: dict[str, tuple[float, float] | Floats] = {}
        if scenario in MEANS:
            intervals["steelyard"] = statistics.mean_interval(
                values, groups.tolist(), seed=seed, resamples=RESAMPLES
            )
        else:
            result = statistics.paired(
                np.maximum(values, 0),
                np.maximum(-values, 0),
                groups.tolist(),
                seed=seed,
                resamples=RESAMPLES,
            )
            intervals["steelyard"] = result.interval
            found += result.p_value < ALPHA
        intervals |= peer_intervals(values, groups, counts)
        for method, (low, high) in intervals.items():
            covered[method] += low - 1e-9 <= scenario.truth <= high + 1e-9
            on_scale = min(high, 1.0) - max(low, -1.0)
            width[method] += float(on_scale) / simulations
    name = scenario.name + (f", groups alike {scenario.alike:g}" if scenario.alike else "")
    percent = [100 * count / simulations for count in covered.values()]
    shares = " | ".join(f"{value:.1f}" for value in percent)
    finds = "" if scenario in MEANS else f" {100 * found / simulations:.1f} |"
    row = (
        f"| {name} | {scenario.num_groups} | {scenario.truth:.3g} | {shares} "
        f"| {width['steelyard']:.3f} |{finds}"
    )
    return row, percent, list(width.values())


def summary(title: str, figures: Floats) -> str:
    return f"| **{title}** | | | {' | '.join(f'{figure:.1f}' for figure in figures)} | |"


def twins(num_examples: int, simulations: int, rng: np.random.Generator) -> float:
    """The share of studies that name a winner between two systems of equal skill."""
    winners = 0
    for seed in range(simulations):
        skill = rng.beta(2, 1, num_examples)
        a, b = (rng.random((2, num_examples)) < skill).astype(np.float64)
        result = statistics.paired(a, b, range(num_examples), seed=seed, resamples=RESAMPLES)
        winners += result.p_value < ALPHA
    return winners / simulations


def power(
    difference: float, disagreement: float, simulations: int, rng: np.random.Generator
) -> str:
    """How often a true difference is found on as many examples as `examples_needed` says."""
    num_examples = statistics.examples_needed(difference, disagreement=disagreement)
    _, values, _ = flips(disagreement, (1 + difference / disagreement) / 2)
    found = 0
    for seed in range(simulations):
        drawn = values(rng, (num_examples,))
        a, b = np.maximum(drawn, 0), np.maximum(-drawn, 0)
        result = statistics.paired(a, b, range(num_examples), seed=seed, resamples=RESAMPLES)
        found += result.p_value < ALPHA
    return f"| {difference:g} | {disagreement:g} | {num_examples} | {found / simulations:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prior", type=float, default=statistics.PRIOR_CLUSTERS)
    options = parser.parse_args()
    statistics.PRIOR_CLUSTERS = options.prior
    rng = np.random.default_rng(options.seed)
    started = time.monotonic()
    for title, scenarios, last in (
        ("paired difference", PAIRED, " finds |"),
        ("mean of one system", MEANS, ""),
    ):
        header = f"| {title} | groups | truth | steelyard | {' | '.join(PEERS)} | width |{last}"
        print(header, "|---" * (header.count("|") - 1) + "|", sep="\n")
        percents, widths = [], []
        for scenario in scenarios:
            row, percent, width = coverage(scenario, options.simulations, rng)
            print(row, flush=True)
            percents.append(percent)
            widths.append(width)
        table = np.array(percents)
        print(summary("lowest", table.min(0)))
        print(summary("rows below 93.5, %", 100 * (table < 93.5).mean(0)))
        print(summary("rows above 96.5, %", 100 * (table > 96.5).mean(0)))
        print(summary("mean width, points", 100 * np.mean(widths, axis=0)))
        print(summary("width of the first row, points", 100 * np.array(widths[0])))
        print()
    print("| twins | false winners |", "|---|---|", sep="\n")
    for num_examples in (20, 60, 160):
        print(f"| {num_examples} | {twins(num_examples, options.simulations, rng):.1%} |")
    print("\n| difference | disagreement | examples | found |", "|---|---|---|---|", sep="\n")
    for difference, disagreement in ((0.05, 0.1), (0.1, 0.1), (0.1, 0.2), (0.1, 0.3), (0.15, 0.3)):
        print(power(difference, disagreement, options.simulations, rng))
    print(f"\n{options.simulations} simulations a row, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

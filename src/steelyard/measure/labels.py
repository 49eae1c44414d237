"""How a score grows with labels: a power law with its interval, and where it passes a prompt.

    error by number of labels, on a log–log plot:  1 − score = a · n^(−b)

    lora at 25, 50, 100 % of the rows, several seeds ─→ resamples of dev groups and of seeds ─→ a
    fit for each ─→ intervals of b, of the score with more labels, and of the crossing

Source of the law: Hestness et al. 2017, arXiv:1712.00409. Three shares show no bend, so the law has
no floor, and it is not read further than `REACH` times the labels that there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Json
from steelyard.measure.statistics import Interval

Floats = NDArray[np.float64]
REACH = 4.0  # Source: ours; three points over a factor of 4 do not carry further
RESAMPLES = 2_000
LEAST_ERROR = 1e-3  # of a perfect score, whose logarithm there is not. Source: ours
SURE = 0.9  # of the resamples must have a crossing for it to be given. Source: ours


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe built from so many labels with one seed: its scores on dev by example."""

    num_labels: int
    seed: int
    scores: Mapping[str, float]

    @property
    def mean(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The resampled laws: `log_a` and `b` of each, the measured one first."""

    log_a: Floats
    b: Floats

    def score(self, num_labels: float) -> Floats:
        """Shapes: [1 + resamples]."""
        return np.asarray(1 - np.minimum(1.0, np.exp(self.log_a - self.b * math.log(num_labels))))

    def crossing(self, scores: Floats) -> Floats:
        """The number of labels at which each law comes to a score; NaN where it never does."""
        error = np.maximum(1 - scores, LEAST_ERROR)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = np.exp((self.log_a - np.log(error)) / self.b)
        return np.where(self.b > 0, found, np.nan)


def label_curve(
    name: str,
    points: Sequence[Point],
    groups: Mapping[str, str],
    *,
    prompt: tuple[str, Mapping[str, float]] | None,
    confidence: float,
    seed: int,
) -> Json:
    """The points of a recipe's curve, its law, and what more labels would bring.

    `prompt` is the best recipe that needs no labels to learn from, with its scores by example.
    None of `b`, `more` and `crossing` is known where fewer than two numbers of labels are.
    """
    told = [{"num_labels": p.num_labels, "seed": p.seed, "score": p.mean} for p in points]
    whole = max((p.num_labels for p in points), default=0)
    empty: Json = {
        "recipe": name,
        "points": told,
        "num_labels": whole,
        "law": None,
        "line": [],
        "more": None,
        "prompt": None if prompt is None else {"recipe": prompt[0], "score": _mean(prompt[1])},
        "crossing": None,
    }
    if len({p.num_labels for p in points}) < 2:
        return {**empty, "sentence": f"No curve of {name} over labels: too few could be measured."}
    fitted, rival = _fit(points, groups, None if prompt is None else prompt[1], seed)
    b = _interval(fitted.b, confidence)
    gain = fitted.score(2 * whole) - fitted.score(whole)
    more = {
        "num_labels": whole,
        "gain": float(gain[0]),
        "interval": list(_interval(gain, confidence)),
    }
    fewest = min(p.num_labels for p in points)
    crossing = None if rival is None else _crossing(fitted, rival, (fewest, whole), confidence)
    return {
        **empty,
        "law": {"a": math.exp(fitted.log_a[0]), "b": float(fitted.b[0]), "interval": list(b)},
        "line": _line(fitted, [p.num_labels for p in points], confidence),
        "more": more,
        "crossing": crossing,
        "sentence": _sentence(name, more, prompt, crossing, len({p.seed for p in points})),
    }


def _fit(
    points: Sequence[Point],
    groups: Mapping[str, str],
    rival: Mapping[str, float] | None,
    seed: int,
) -> tuple[Fitted, Floats | None]:
    """The law of the measured points and of each resample; the rival's score in each.

    A resample draws groups of dev, the same for all points, and one of the seeds of each number
    of labels as often as there are.
    """
    shared = [e for e in points[0].scores if all(e in p.scores for p in points)]
    shared = [e for e in shared if rival is None or e in rival]
    names = list(dict.fromkeys(groups[e] for e in shared))
    at = {name: number for number, name in enumerate(names)}
    of = np.array([at[groups[e]] for e in shared])
    sizes = np.bincount(of, minlength=len(names)).astype(np.float64)
    sums = np.array(
        [
            np.bincount(of, weights=[p.scores[e] for e in shared], minlength=len(names))
            for p in points
        ]
    )
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    counts = np.vstack([np.ones(len(names)), drawn])
    total = counts @ sizes
    means = (counts @ sums.T) / total[:, None]  # [1 + resamples, points]
    weights = _seed_weights([p.num_labels for p in points], rng)
    fitted = _laws(np.log([p.num_labels for p in points]), means, weights)
    if rival is None:
        return fitted, None
    own = np.bincount(of, weights=[rival[e] for e in shared], minlength=len(names))
    return fitted, np.asarray((counts @ own) / total)


def _seed_weights(num_labels: Sequence[int], rng: np.random.Generator) -> Floats:
    """How often each point was drawn among those of its number of labels; first once each.

    Shapes: [1 + resamples, points].
    """
    weights = np.ones((RESAMPLES + 1, len(num_labels)))
    for number in set(num_labels):
        own = [i for i, n in enumerate(num_labels) if n == number]
        drawn = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=RESAMPLES)
        weights[1:, own] = drawn
    return weights


def _laws(logs: Floats, means: Floats, weights: Floats) -> Fitted:
    """Weighted least squares of log error on log labels, for all resamples at once.

    Shapes: logs [points]; means, weights [1 + resamples, points].
    """
    errors = np.log(np.maximum(1 - means, LEAST_ERROR))
    total = weights.sum(axis=1)
    x = (weights * logs).sum(axis=1) / total
    y = (weights * errors).sum(axis=1) / total
    away = logs[None, :] - x[:, None]
    slope = (weights * away * (errors - y[:, None])).sum(axis=1) / (weights * away**2).sum(axis=1)
    return Fitted(y - slope * x, -slope)


def _crossing(fitted: Fitted, rival: Floats, labels: tuple[int, int], confidence: float) -> Json:
    """Where the law passes the rival's score, with how sure that is; None: cannot tell.

    A number of None is one below the fewest labels that were tried, where no law is read.
    """
    fewest, whole = labels
    found = fitted.crossing(rival)
    reached = np.where(np.isfinite(found) & (found <= REACH * whole), found, np.inf)
    reached = np.where(fitted.score(fewest) >= rival, 0.0, reached)
    if not np.isfinite(reached[0]) or np.isfinite(reached[1:]).mean() < SURE:
        return None
    low, high = _interval(reached, confidence)
    return {
        "num_labels": float(reached[0]) or None,
        "interval": [low or None, None if math.isinf(high) else max(high, float(fewest))],
        "fewest": fewest,
    }


def _line(fitted: Fitted, num_labels: Sequence[int], confidence: float) -> list[Json]:
    """The law from the fewest labels on to twice as many as there are, with its interval."""
    steps = np.geomspace(min(num_labels), 2 * max(num_labels), 12)
    return [
        {
            "num_labels": float(n),
            "score": float(fitted.score(n)[0]),
            "interval": list(_interval(fitted.score(n), confidence)),
        }
        for n in steps
    ]


def _interval(values: Floats, confidence: float) -> Interval:
    """The middle of the resamples; the first value is the measured one."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _sentence(
    name: str,
    more: Json,
    prompt: tuple[str, Mapping[str, float]] | None,
    crossing: Json,
    num_seeds: int,
) -> str:
    low, high = (100 * end for end in more["interval"])
    count = f"{more['num_labels']:,}"
    seeds = (
        "one seed, so chance in training is not in it" if num_seeds == 1 else f"{num_seeds} seeds"
    )
    if low > 0:
        said = f"{count} more labels would bring {name} {low:.1f} to {high:.1f} points ({seeds})."
    else:
        said = (
            f"Cannot tell what {count} more labels would bring {name}: {low:.1f} to {high:.1f} "
            f"points ({seeds})."
        )
    if prompt is None:
        return said
    if crossing is None:
        return f"{said} Where it passes {prompt[0]}, these measurements cannot tell."
    if crossing["num_labels"] is None:
        fewest = f"{crossing['fewest']:,} labels on, the fewest tried"
        return f"{said} It is above {prompt[0]} from {fewest}."
    return (
        f"{said} It passes {prompt[0]}, which learns from none, at about "
        f"{crossing['num_labels']:,.0f} labels ({_span(crossing)})."
    )


def _span(crossing: Json) -> str:
    low, high = crossing["interval"]
    start = f"under {crossing['fewest']:,}" if low is None else f"{low:,.0f}"
    return f"{start} to {'more' if high is None else f'{high:,.0f}'}"


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def turning_point(curve: Json) -> Json:
    """The crossing as an entry of `turning_points`: which of the two wins at how many labels."""
    crossing, name = curve["crossing"], curve["recipe"]
    if crossing is None or crossing["num_labels"] is None:
        return None
    other, at = curve["prompt"]["recipe"], crossing["num_labels"]
    return {
        "of": "labels",
        "about": name,
        "now": float(curve["num_labels"]),
        "answers": [
            {"from": 0.0, "to": at, "outcome": "chosen", "recipe": other},
            {"from": at, "to": None, "outcome": "chosen", "recipe": name},
        ],
        "sentence": (
            f"Labels of {name} (now {curve['num_labels']:,}): below {at:,.0f} "
            f"({_span(crossing)}) {other} scores higher."
        ),
    }

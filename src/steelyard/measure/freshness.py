"""What time does to answers: scores before and after the newest training row, by kind of fact and
by age, and answers that were right once.

    cutoff = the newest training row          dev rows after it, by what became of their fact
    ─────────────────┼──────────────────────→   unchanged   the answer was right at the cutoff too
      train, old dev │  0 … age … days          new         nobody could have known it then
                                                superseded  another answer was right then

A fact is judged by the documents in `evidence`, as they held at the cutoff and at the row's time,
or by a column `outdated` that holds the answer which was right before. A stale answer is one that
was right before and no longer is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from steelyard.core import Answer, Example, Json, Row, Scorer
from steelyard.measure.normalise import words
from steelyard.measure.statistics import mean_interval

Fact = Literal["unchanged", "new", "superseded"]
FACTS: tuple[Fact, ...] = ("unchanged", "new", "superseded")
OUTDATED = "outdated"  # the column of the answer that was right before
AGES = 4  # pieces that the time after the cutoff is cut into. Source: ours
LEAST_ROWS = 10  # of a piece; below that an interval spans half the scale. Source: ours
STALE = 0.5  # a score against the outdated answer from which on it is one. Source: ours
MONTH = 30.0  # days
SECONDS_A_DAY = 86_400.0
Version = Callable[[Example, str], str | None]


@dataclass(frozen=True, slots=True)
class Aged:
    """A dev row with its age, what became of its fact, and how a stale answer is known.

    Units: `days` after the cutoff, negative before it.
    """

    example: Example
    days: float
    fact: Fact | None
    before: str | None = None
    now: str | None = None

    def is_stale(self, answer: Answer, scorer: Scorer) -> bool:
        """Whether an answer was right before and no longer is."""
        outdated = self.example.metadata.get(OUTDATED)
        if outdated is not None:
            return scorer.score(answer, outdated).value >= STALE
        if self.fact != "superseded" or self.before is None or self.now is None:
            return False
        said = _plain(answer.value)
        return bool(said) and said in _plain(self.before) and said not in _plain(self.now)


def cutoff_of(train: Sequence[Example]) -> str | None:
    """The time of the newest training row; None where rows have no readable time."""
    times = [example.time for example in train if example.time and _moment(example.time)]
    return max(times, default=None)


def aged(
    dev: Sequence[Example], cutoff: str, version: Version = lambda _e, _t: None
) -> tuple[Aged, ...]:
    """The dev rows that have a time. `version` is the text of a row's evidence at a time."""
    start = _moment(cutoff)
    assert start is not None
    found = []
    for example in dev:
        at = None if example.time is None else _moment(example.time)
        if example.time is None or at is None:
            continue
        days = (at - start).total_seconds() / SECONDS_A_DAY
        before, now = version(example, cutoff), version(example, example.time)
        fact = None if days <= 0 else _fact(example, before, now)
        found.append(Aged(example, days, fact, before, now))
    return tuple(found)


def _fact(example: Example, before: str | None, now: str | None) -> Fact | None:
    if example.metadata.get(OUTDATED) is not None:
        return "superseded"
    if now is None:
        return "unchanged" if OUTDATED in example.metadata else None
    said = _plain(example.target)
    if before is None or not before:
        return "new"
    if said in _plain(before):
        return "unchanged"
    return "superseded" if said in _plain(now) else None


def freshness(
    name: str, rows: Sequence[Row], dev: Sequence[Aged], scorer: Scorer, *, confidence: float
) -> Json:
    """A recipe's scores before and after the cutoff, by fact and by age, and its stale answers."""
    by_id = {row.example_id: row for row in rows if row.score is not None}
    known = [(one, by_id[one.example.id]) for one in dev if one.example.id in by_id]
    after = [(one, row) for one, row in known if one.days > 0]
    changed = [(one, row) for one, row in after if one.fact == "superseded"]
    stale = sum(one.is_stale(row.answer, scorer) for one, row in changed)
    return {
        "recipe": name,
        "before": _mean([row for one, row in known if one.days <= 0], confidence),
        "after": _mean([row for _, row in after], confidence),
        "facts": {
            fact: _mean([row for one, row in after if one.fact == fact], confidence)
            for fact in FACTS
        },
        "stale": {"count": stale, "of": len(changed)} if changed else None,
        "by_age": _by_age(after, confidence),
        "per_month": _slope(after, confidence),
    }


def _mean(rows: Sequence[Row], confidence: float) -> Json:
    """Score, interval and number of rows; None where there are too few for an interval."""
    scores = [row.score.value for row in rows if row.score is not None]
    groups = [row.group for row in rows if row.score is not None]
    if len(set(groups)) < 2:
        return None
    return {
        "score": sum(scores) / len(scores),
        "interval": list(mean_interval(scores, groups, confidence=confidence)),
        "num_examples": len(scores),
    }


def _by_age(after: Sequence[tuple[Aged, Row]], confidence: float) -> list[Json]:
    """Pieces of equal numbers of rows, the youngest first."""
    order = sorted(after, key=lambda pair: pair[0].days)
    number = min(AGES, len(order) // LEAST_ROWS)
    pieces = []
    for i in range(number):
        piece = order[i * len(order) // number : (i + 1) * len(order) // number]
        found = _mean([row for _, row in piece], confidence)
        if found is not None:
            pieces.append({"from_days": piece[0][0].days, "to_days": piece[-1][0].days, **found})
    return pieces


def _slope(after: Sequence[tuple[Aged, Row]], confidence: float) -> Json:
    """How far the score moves in 30 days: a line through all rows, resampled by group."""
    days = np.array([one.days for one, _ in after]) / MONTH
    scores = np.array([row.score.value for _, row in after if row.score is not None])
    names = {group: n for n, group in enumerate(dict.fromkeys(row.group for _, row in after))}
    if len(names) < 2 * LEAST_ROWS or float(np.ptp(days)) < 1 / MONTH:
        return None
    of = np.array([names[row.group] for _, row in after])
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=2_000)
    weights = np.vstack([np.ones(len(names)), drawn])[:, of].astype(np.float64)
    total = weights.sum(axis=1)
    x, y = weights @ days / total, weights @ scores / total
    away = days[None, :] - x[:, None]
    spread = (weights * away**2).sum(axis=1)
    slopes = (weights * away * (scores[None, :] - y[:, None])).sum(axis=1) / np.maximum(
        spread, 1e-9
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(slopes[1:], [tail, 1 - tail])
    return {"change": float(slopes[0]), "interval": [float(low), float(high)]}


def sentences(entry: Json, cutoff: str) -> str:
    """What time did to a recipe, in words."""
    name, parts = entry["recipe"], []
    before, after, stale = entry["before"], entry["after"], entry["stale"]
    if before and after:
        parts.append(
            f"{name} scores {before['score']:.3f} on rows up to {cutoff} and {after['score']:.3f} "
            "after it."
        )
    elif after:
        parts.append(f"{name} scores {after['score']:.3f} on rows after {cutoff}.")
    if stale:
        parts.append(
            f"Of {stale['of']} answers about what changed, {stale['count']} are stale: they were "
            "right before."
        )
    slope = entry["per_month"]
    if slope:
        low, high = slope["interval"]
        chance = "" if low > 0 or high < 0 else ", which may be chance"
        parts.append(f"In 30 days its score moves by {slope['change']:+.3f}{chance}.")
    return " ".join(parts)


def _moment(time: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _plain(value: Json) -> str:
    """The words of a text, for looking one up in another."""
    return f" {' '.join(words(value))} " if isinstance(value, str) and value.strip() else ""

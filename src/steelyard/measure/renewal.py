"""Which way of refreshing a release to take, from scores on new and on old rows alone.

    for each way, beside doing nothing:
      on the new rows it is shown higher (p adjusted over all ways < 1 − confidence)?  no → stays
      on the old rows its estimate is lower by more than the tolerance?               yes → refused
      it costs or takes more than the task's limits?                                  yes → refused
    of those left, the least whose new score is within the tolerance of the best

The least is what is quickest made and undone: examples, the index, weights, both. Where no way is
left, nothing is done. Old rows are held to the estimate, not to the end of the interval: a few
hundred would be needed before even equal answers are shown equal to within 0.02.
Source of the rules: DESIGN section 6, as in `decision.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from steelyard.core import Comparison, Json
from steelyard.measure.decision import compare_pairs

Way = Literal["nothing", "examples", "index", "weights", "both"]
WAYS: tuple[Way, ...] = ("nothing", "examples", "index", "weights", "both")
LEAST_GROUPS = 2  # of which a mean has an interval
WORDS: dict[Way, str] = {
    "nothing": "nothing",
    "examples": "the examples it is shown",
    "index": "the index",
    "weights": "the weights",
    "both": "the index and what it learned",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """A way of refreshing with its score by example, on rows that are new and on old ones."""

    way: Way
    new: Mapping[str, float]
    old: Mapping[str, float]
    eligible: bool = True


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Renewal:
    """What to do, why in a sentence, and each way with its differences from doing nothing."""

    way: Way
    sentence: str
    ways: tuple[Json, ...]


def choose(
    tried: Sequence[Tried],
    groups: Mapping[str, str],
    *,
    tolerance: float,
    confidence: float = 0.95,
    seed: int = 0,
) -> Renewal:
    """Choose among ways, of which one is `nothing`; there are new and old rows in two groups."""
    stays = next(one for one in tried if one.way == "nothing")
    others = [one for one in tried if one.way != "nothing"]
    new = _beside(stays.new, {one.way: one.new for one in others}, groups, confidence, seed)
    old = _beside(stays.old, {one.way: one.old for one in others}, groups, confidence, seed)
    standings = {
        one.way: _standing(one, new[one.way], old[one.way], tolerance, 1 - confidence)
        for one in others
    }
    told = tuple(_told(one, new.get(one.way), old.get(one.way), standings) for one in tried)
    able = [one for one in others if standings[one.way] == "better"]
    if not able:
        return Renewal("nothing", _none(others, new, old, standings), told)
    best = max(_mean(one.new) for one in able)
    near = [one for one in able if round(best - _mean(one.new), 12) <= tolerance]
    pick = min(near, key=lambda one: WAYS.index(one.way))
    return Renewal(pick.way, _picked(pick, new[pick.way], old[pick.way]), told)


def enough(rows: Mapping[str, float], groups: Mapping[str, str]) -> bool:
    """Whether rows can be compared at all."""
    return len({groups[example] for example in rows}) >= LEAST_GROUPS


def _beside(
    stays: Mapping[str, float],
    others: Mapping[Way, Mapping[str, float]],
    groups: Mapping[str, str],
    confidence: float,
    seed: int,
) -> dict[Way, Comparison]:
    """Each way minus doing nothing."""
    pairs = [(_Named(way, scores), _Named("nothing", stays)) for way, scores in others.items()]
    found = compare_pairs(pairs, groups, "dev", confidence=confidence, seed=seed)
    return dict(zip(others, found, strict=True))


def _standing(one: Tried, new: Comparison, old: Comparison, tolerance: float, alpha: float) -> str:
    if round(old.difference, 12) < -tolerance:  # 0.9 - 0.7 is a loss of 0.2
        return "worse on the old rows"
    if not (new.difference > 0 and new.p_adjusted < alpha):
        return "not shown better on the new rows"
    return "better" if one.eligible else "beyond the task's limits"


def _told(
    one: Tried, new: Comparison | None, old: Comparison | None, standings: Mapping[Way, str]
) -> Json:
    return {
        "way": one.way,
        "standing": standings.get(one.way, "as it is"),
        "new": _rows(one.new, new),
        "old": _rows(one.old, old),
    }


def _rows(scores: Mapping[str, float], found: Comparison | None) -> Json:
    return {
        "score": _mean(scores),
        "num_examples": len(scores),
        "difference": None if found is None else found.difference,
        "interval": None if found is None else list(found.interval),
        "p_adjusted": None if found is None else found.p_adjusted,
    }


def _picked(one: Tried, new: Comparison, old: Comparison) -> str:
    low, high = new.interval
    return (
        f"Refreshing {WORDS[one.way]} brings {new.difference:+.3f} [{low:+.3f}, {high:+.3f}] on "
        f"{new.num_examples} new rows, and {old.difference:+.3f} on {old.num_examples} old ones."
    )


def _none(
    others: Sequence[Tried],
    new: Mapping[Way, Comparison],
    old: Mapping[Way, Comparison],
    standings: Mapping[Way, str],
) -> str:
    parts = []
    for one in others:
        far = f"{new[one.way].difference:+.3f} on {new[one.way].num_examples} new rows"
        if standings[one.way] == "worse on the old rows":
            kept = old[one.way]
            far = f"{kept.difference:+.3f} on {kept.num_examples} old rows, {far}"
        parts.append(f"refreshing {WORDS[one.way]} is {standings[one.way]} ({far})")
    return f"Nothing was changed: {'; '.join(parts)}."


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)

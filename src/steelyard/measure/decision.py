"""Which recipe to use, from scores on dev alone.

    beats majority? ── none ──────────────────────────────→ nothing_works
      │
    best by mean score; every other recipe is, compared with it,
      within   the whole interval of best − recipe is at most the tolerance
      worse    it scores lower (adjusted p < 1 − confidence), and is not within
      open     neither
      │
    the least that is within (the best itself is) … unless an open recipe stands against it:
      less, and its estimate is within the tolerance    → that one: nothing is shown to beat it
      cheaper, and its estimate is not                  → cannot_tell
      as cheap, needing no more, unlike beyond decoding → cannot_tell

"Less" is cheaper, or as cheap and needing less: of what the plain prompt does without (weights,
examples, passages, history) it has fewer to make, to keep and to renew.

When dev cannot tell two recipes apart, both are measured on the sealed test, and `settle` lets
that one comparison, planned on dev alone, decide where it can. It is a second chance to be wrong,
so it is made at half the level (`second_look`): dev tells 3 % of twins apart, the test 1.5 % more.

Costs within a factor of `SAME_COST` count as the same: they are measured on a machine that has
other things to do. Of recipes of one model on this machine the one that needs more is not cheaper
either unless an answer of it is less work by that factor, counted in tokens, which a busy machine
does not change. Source of the rules: DESIGN section 6; of the factor: ours,
docs/log/2026-11-26-worlds.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from steelyard.core import Comparison, Outcome, Recipe, Split
from steelyard.errors import TrialError
from steelyard.measure.statistics import holm, paired

SAME_COST = 1.5
Standing = str  # "best", "within", "worse", "open", "no better than majority"


class Scored(Protocol):
    """What can be compared: a name, and a score by example."""

    @property
    def name(self) -> str: ...

    @property
    def scores(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A measured recipe: its score by example, where it has one, and its cost.

    `usd_per_1k` is the cost per thousand answers; `eligible` says whether the task's limits
    allow choosing it; `work` is what an answer is for its model, in tokens, None where no model of
    this machine gives it.
    """

    recipe: Recipe
    scores: Mapping[str, float]
    usd_per_1k: float
    eligible: bool = True
    work: float | None = None

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def mean(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, the recipes that carry it, and every comparison that was made.

    `rival` is the recipe that dev could not tell from `best`.
    """

    outcome: Outcome
    chosen: str | None
    prefer: str | None
    best: str
    rival: str | None
    standings: Mapping[str, Standing]
    comparisons: tuple[Comparison, ...]


def decide(
    candidates: Sequence[Candidate],
    groups: Mapping[str, str],
    *,
    tolerance: float,
    confidence: float = 0.95,
    seed: int = 0,
) -> Decision:
    """Choose among `candidates`, of which one is `majority`.

    Raises:
        TrialError: there is no majority control, or nothing to compare it with.
    """
    named = {candidate.name: candidate for candidate in candidates}
    others = [candidate for candidate in candidates if candidate.name != "majority"]
    if "majority" not in named or not others:
        raise TrialError(
            "no verdict: expected the majority control and at least one other finished recipe; "
            f"finished: {', '.join(named) or 'none'}. Give it more --minutes or mend the failures"
        )
    best = max(others, key=lambda candidate: candidate.mean)
    pairs = [(candidate, named["majority"]) for candidate in others]
    pairs += [(best, candidate) for candidate in others if candidate is not best]
    comparisons = compare_pairs(pairs, groups, "dev", confidence=confidence, seed=seed)
    return conclude(candidates, comparisons, tolerance=tolerance, confidence=confidence)


def conclude(
    candidates: Sequence[Candidate],
    comparisons: tuple[Comparison, ...],
    *,
    tolerance: float,
    confidence: float,
) -> Decision:
    """The decision that follows from the comparisons that `decide` made.

    Costs, limits and the tolerance come in here alone: what another one would change is found
    without comparing again.
    """
    others = [candidate for candidate in candidates if candidate.name != "majority"]
    best = max(others, key=lambda candidate: candidate.mean)
    found = {(c.a, c.b): c for c in comparisons}
    alpha = 1 - confidence

    standings: dict[str, Standing] = {}
    for candidate in others:
        control = found[candidate.name, "majority"]
        if control.difference <= 0 or control.p_adjusted >= alpha:
            standings[candidate.name] = "no better than majority"
        elif candidate is best:
            standings[candidate.name] = "best"
        else:
            standings[candidate.name] = _standing(
                found[best.name, candidate.name], tolerance, alpha
            )
    able = [c for c in others if c.eligible and standings[c.name] in ("best", "within", "open")]
    decision = Decision("nothing_works", None, None, best.name, None, standings, comparisons)
    if not able:
        return _fallback(decision, others, standings)
    return _choose(decision, able, found, tolerance)


def _standing(comparison: Comparison, tolerance: float, alpha: float) -> Standing:
    if comparison.interval[1] <= tolerance:
        return "within"
    return "worse" if comparison.p_adjusted < alpha else "open"


def _fallback(
    decision: Decision, others: Sequence[Candidate], standings: Mapping[str, Standing]
) -> Decision:
    """Nobody stands level with the best and may be chosen: the best of those who may, if any."""
    worse = [c for c in others if c.eligible and standings[c.name] == "worse"]
    if not worse:
        return decision
    top = max(worse, key=lambda c: c.mean)
    return replace(decision, outcome="chosen", chosen=top.name)


def _choose(
    decision: Decision,
    able: Sequence[Candidate],
    found: Mapping[tuple[str, str], Comparison],
    tolerance: float,
) -> Decision:
    sure = [c for c in able if decision.standings[c.name] in ("best", "within")]
    open_ones = [c for c in able if decision.standings[c.name] == "open"]
    if not sure:  # the best may not be chosen and nobody is known to be level with it
        pick = cheapest(open_ones)
        return replace(decision, outcome="cannot_tell", prefer=pick.name, rival=pick.name)
    pick = _least(sure)
    near = [
        c
        for c in open_ones
        if (_is_cheaper(c, pick) or (_is_as_cheap(c, pick) and _needs(c) < _needs(pick)))
        and found[decision.best, c.name].difference <= tolerance
    ]
    if near:
        pick = _least(near)

    def rivals(c: Candidate) -> bool:
        as_much = _is_as_cheap(c, pick) and not near and _needs(c) <= _needs(pick)
        return _is_cheaper(c, pick) or (as_much and not _alike(c, pick))

    against = [c for c in open_ones if c is not pick and rivals(c)]
    if against:
        rival = cheapest(against)
        prefer = cheapest([pick, rival])
        return replace(decision, outcome="cannot_tell", prefer=prefer.name, rival=rival.name)
    return replace(decision, outcome="chosen", chosen=pick.name)


def second_look(confidence: float) -> float:
    """The confidence at which the sealed test settles what dev left open.

    Source: ours, docs/log/2026-11-26-race.md

    >>> second_look(0.95)
    0.975
    """
    return 1 - (1 - confidence) / 2


def settle(
    decision: Decision, test: Comparison, *, tolerance: float, eligible: Collection[str]
) -> Decision:
    """A decision that dev left open, after `best` and `rival` were compared on the sealed test.

    The best is chosen when the test shows it higher, the rival when the test shows it higher or
    within the tolerance; otherwise, or when the limits forbid that one, it is left open still.
    """
    low, high = test.interval
    assert (test.a, test.b) == (decision.best, decision.rival)
    if high <= tolerance:
        pick = test.b
    elif low > 0 and test.a in eligible:
        pick = test.a
    else:
        return decision
    return replace(decision, outcome="chosen", chosen=pick, prefer=None)


def cheapest(candidates: Sequence[Candidate]) -> Candidate:
    """The cheapest, and of those that cost about the same, the one that scores best."""
    return max(_cheap(candidates), key=lambda c: c.mean)


def _least(candidates: Sequence[Candidate]) -> Candidate:
    """The cheapest, of those that cost about the same the one that needs least, then the best."""
    return min(_cheap(candidates), key=lambda c: (_needs(c), -c.mean))


def _cheap(candidates: Sequence[Candidate]) -> list[Candidate]:
    floor = min(candidates, key=lambda c: c.usd_per_1k)
    limit = floor.usd_per_1k * SAME_COST
    return [c for c in candidates if c.usd_per_1k <= limit or _is_lighter(c, floor)]


def _is_cheaper(one: Candidate, other: Candidate) -> bool:
    return one.usd_per_1k * SAME_COST < other.usd_per_1k and not _is_lighter(other, one)


def _is_as_cheap(one: Candidate, other: Candidate) -> bool:
    return one.usd_per_1k < other.usd_per_1k * SAME_COST or _is_lighter(one, other)


def _is_lighter(one: Candidate, other: Candidate) -> bool:
    """Whether it needs less, and its answers are about as much work for the same model."""
    if one.work is None or other.work is None or one.recipe.model != other.recipe.model:
        return False
    return one.work <= other.work * SAME_COST and _needs(one) < _needs(other)


def _needs(candidate: Candidate) -> int:
    """How much a recipe has that the plain prompt does without."""
    context, weights = candidate.recipe.context, candidate.recipe.weights
    parts = (context.examples, context.history, weights.method)
    return sum(part != "none" for part in parts) + (context.passages > 0)


def no_dearer(one: Candidate, other: Candidate) -> bool:
    """Whether being less cannot speak for `other`: `one` is cheaper, or as cheap and needs no more.

    Then `other` is only chosen where it is not shown to score lower than `one`.
    """
    if _is_cheaper(one, other):
        return True
    return not _is_cheaper(other, one) and _needs(one) <= _needs(other)


def compare_pairs(
    pairs: Sequence[tuple[Scored, Scored]],
    groups: Mapping[str, str],
    split: Split | None,
    *,
    confidence: float,
    seed: int,
) -> tuple[Comparison, ...]:
    """Each pair on the examples that both answered, p values adjusted over all of them."""
    results = []
    for a, b in pairs:
        shared = [example for example in a.scores if example in b.scores]
        results.append(
            paired(
                [a.scores[example] for example in shared],
                [b.scores[example] for example in shared],
                [groups[example] for example in shared],
                confidence=confidence,
                seed=seed,
            )
        )
    adjusted = holm([result.p_value for result in results])
    return tuple(
        Comparison(
            a=a.name,
            b=b.name,
            split=split,
            difference=result.difference,
            interval=result.interval,
            p_adjusted=p,
            num_examples=result.num_examples,
            num_groups=result.num_groups,
        )
        for (a, b), result, p in zip(pairs, results, adjusted, strict=True)
    )


def _alike(one: Candidate, other: Candidate) -> bool:
    """Whether two recipes differ in nothing but how the answer is decoded."""
    a, b = one.recipe, other.recipe
    return (a.model, a.context, a.weights) == (b.model, b.context, b.weights)

"""Dropping recipes while they are measured, by tests that may be looked at after every example.

`weigh` measures all recipes on a first round of examples, drops those that are shown lower, goes on
to a round of the same size again, and so on (`rounds`, `behind`); `race` replays whole tables.

    examples in random order ─→ difference of two recipes on each ─→ wealth of a gambler who bets
    on "the first is better" and starts with 1 ─→ at 1 / level: the second is dropped

If the first is not better, no way of betting makes money on average, so the wealth ever reaches
1 / level in at most a share `level` of all studies, however often one looks (Ville 1939). The
gambler here spreads the money over several stakes once and for all; the best of them soon holds
nearly all of it.

The first of the two may be another one on each example, as long as it is named beforehand: in a
race it is whoever of the others has the highest mean until then. So there is one test for each
recipe and not one for each pair. The levels of all recipes share one chance to be wrong, and those
that are left share it among themselves (`share`; Holm 1979).

Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting",
arXiv 2010.09686, sections 4 and 5 (a mixture over stakes is also a fair bet); racing: Maron and
Moore 1994, "Hoeffding races".
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Example, digest
from steelyard.errors import TrialError

Floats = NDArray[np.float64]
# Shares of the money at stake on one example. The best one is about the mean difference over its
# variance (Waudby-Smith and Ramdas, B.2); to be shown by a few hundred examples it must be 0.1.
STAKES = tuple(0.9 * 2.0**-k for k in range(4))
# In a race few examples must do, so the stakes are high: nearly all on a recipe that never loses.
# The money is spread by `_SPREAD`. Source: ours, docs/log/2026-11-27-names-and-parts.md
RACE_STAKES = (0.95, 0.6, 0.2)
_SPREAD = (0.4, 0.4, 0.2)
# Examples before the first look. Of ten recipes, one that scores 0.6 higher is told apart by 20;
# batches of fewer cost as much time on the machines we have seen. Source: ours,
# docs/log/2026-11-26-race.md
FIRST_ROUND = 20


@dataclass(frozen=True, slots=True)
class Raced:
    """How a race went: after how many examples each recipe was dropped, or None, and by whom.

    `evaluations` counts answers that were needed; the whole table has recipes × examples.
    """

    dropped_after: tuple[int | None, ...]
    dropped_by: tuple[int | None, ...]
    evaluations: int

    @property
    def left(self) -> tuple[int, ...]:
        """The recipes that were measured to the end."""
        return tuple(n for n, after in enumerate(self.dropped_after) if after is None)


def log_wealth(differences: Sequence[float] | Floats, *, margin: float = 0.0) -> Floats:
    """Natural logarithm of the gambler's wealth after each observation, from 0 for none.

    The bet is that the mean difference is above `margin`; at exp(−x) the level of a test that
    may stop at any time is reached. Observations are differences in [−1, 1], independent of
    each other: one for each group, see `per_group`.

    Shapes: [N] → [N].
    Raises:
        TrialError: a difference outside [−1, 1], or a margin outside (−1, 1).
    """
    values = np.asarray(differences, dtype=np.float64)
    _check(values, margin)
    stakes = np.array(STAKES) / (1 + margin)  # so that the worst loss is a stake
    grown = np.cumsum(np.log1p(stakes[:, None] * (values - margin)), axis=1)
    highest = grown.max(axis=0, initial=-math.inf)
    return np.asarray(highest + np.log(np.exp(grown - highest).mean(axis=0)))


def anytime_p_values(differences: Sequence[float] | Floats, *, margin: float = 0.0) -> Floats:
    """A p value after each observation that stays one under any rule of stopping.

    Of "the mean difference is at most `margin`"; it never rises.

    Shapes: [N] → [N].
    Source: Ville 1939; Waudby-Smith and Ramdas 2024, section 2.
    """
    wealth = np.maximum.accumulate(log_wealth(differences, margin=margin))
    return np.asarray(np.exp(-np.maximum(wealth, 0.0)))


def per_group(values: Floats, groups: Sequence[Hashable]) -> Floats:
    """Sums over groups, in units of the largest group, in the order in which groups begin.

    Examples of one group are not independent, so they are one observation together; its sign
    is that of the mean over examples. Shapes: [any, N] → [any, groups].
    """
    cluster = _numbers(groups)
    sums = np.stack([np.bincount(cluster, weights=row) for row in np.atleast_2d(values)])
    return np.asarray(sums / max(1, np.bincount(cluster).max()))


def race(
    scores: Floats,
    *,
    groups: Sequence[Hashable] | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
) -> Raced:
    """Measure all recipes on one example after the other and drop who is shown to be lower.

    A recipe is dropped when others, still running, are shown to be more than `margin` higher.
    However often one looks, anybody who is not that much below the best is dropped in at most the
    share 1 − confidence of all studies.

    The examples must come in random order. The last recipe left runs on: what it scores is wanted.

    Shapes: scores [recipes, N].
    Raises:
        TrialError: fewer than two recipes, no examples, or a score outside [0, 1].
    """
    recipes, num_examples = _shape(scores)
    if groups is None:
        table, sizes = scores, np.ones(num_examples, dtype=np.int64)
    else:
        table = per_group(scores, groups)
        sizes = np.bincount(_numbers(groups))
    after: list[int | None] = [None] * recipes
    by: list[int | None] = [None] * recipes
    until, looked = np.cumsum(sizes), 0
    there = np.ones(table.shape, dtype=np.bool_)
    while (left := [recipe for recipe in range(recipes) if after[recipe] is None])[1:]:
        highest, means = _bets(np.where(there, table, np.nan), there, margin)
        bar = -math.log(share(confidence, len(left)))
        shown = (highest[left] >= bar) & (means[left] < means[left].max(axis=0))
        shown[:, :looked] = False
        if not shown.any():
            break
        looked = int(shown.any(axis=0).argmax())
        at = max(np.flatnonzero(shown[:, looked]), key=lambda row: highest[left[row], looked])
        out = left[int(at)]
        after[out], by[out] = int(until[looked]), left[int(means[left, looked].argmax())]
        there[out, looked + 1 :] = False
    evaluations = sum(num_examples if number is None else number for number in after)
    return Raced(tuple(after), tuple(by), evaluations)


def share(confidence: float, num_left: int) -> float:
    """The level at which one of so many that are left may be dropped.

    Of two equal ones either may be, so the last that is left is tested as if there were two.
    """
    return (1 - confidence) / max(2, num_left)


def behind(
    scores: Mapping[str, Mapping[str, float | None]],
    measured: Sequence[Example],
    *,
    margin: float,
    leading: Collection[str],
    no_dearer: Collection[tuple[str, str]] = (),
) -> dict[str, float]:
    """For each recipe a p value of "nobody of `leading` scores more than `margin` above it".

    Of the pairs `no_dearer` the second costs no more than the first. It need only score higher at
    all: being less does not speak for the first then.

    It holds however often one looks. `measured` are examples in the order of the race and in whole
    groups. Of an example a recipe may have a score, None where it failed, which says nothing, or no
    entry, where it was out by then: it must have been measured up to there.
    """
    names = list(scores)
    may_lead = np.array([name in leading for name in names])
    grouped = [list(members) for _, members in groupby(measured, key=lambda e: e.group)]
    largest = max((len(group) for group in grouped), default=1)
    table = np.full((len(names), len(grouped)), np.nan)
    there = np.zeros(table.shape, dtype=np.bool_)
    for at, group in enumerate(grouped):
        known = [e.id for e in group if all(scores[n].get(e.id, 0.0) is not None for n in names)]
        for row, name in enumerate(names):
            there[row, at] = all(e.id in scores[name] for e in group)
            if there[row, at] and known:
                table[row, at] = sum(scores[name][id_] or 0.0 for id_ in known) / largest
    if not table.size:
        return dict.fromkeys(names, 1.0)
    margins = np.array([[0.0 if (a, b) in no_dearer else margin for b in names] for a in names])
    highest, _ = _bets(table, there & may_lead[:, None], margins)
    return {name: math.exp(-wealth) for name, wealth in zip(names, highest[:, -1], strict=True)}


def _bets(
    table: Floats, may_lead: NDArray[np.bool_], margin: float | Floats
) -> tuple[Floats, Floats]:
    """The highest log wealth so far of who bets, for each recipe, that the leader of the others is
    more than `margin` above it; and the means so far. NaN is no observation, and no bet.

    Shapes: table, may_lead [recipes, N], margin one or [recipe, leader] → [recipes, N] twice.
    """
    seen = ~np.isnan(table)
    values = np.where(seen, table, 0.0)
    sums, counts = np.cumsum(values, axis=1), np.cumsum(seen, axis=1)
    means = sums / np.maximum(counts, 1)
    # Who leads is named before the observation: by the means without it.
    before = np.where(may_lead, (sums - values) / np.maximum(counts - seen, 1), -math.inf)
    margins = np.broadcast_to(margin, (len(table), len(table)))
    stakes = np.array(RACE_STAKES) / (1 + margins.max())  # so that the worst loss is a stake
    highest = np.zeros(table.shape)
    for recipe in range(len(table)):
        others = before.copy()
        others[recipe] = -math.inf
        leads = (others == others.max(axis=0)) & np.isfinite(others)
        less = np.where(leads, table - margins[recipe][:, None], 0.0)
        theirs = less.sum(axis=0) / np.maximum(leads.sum(axis=0), 1)
        gaps = np.where(leads.any(axis=0), theirs - table[recipe], np.nan)
        won = np.where(np.isnan(gaps), 0.0, gaps)
        money = np.cumsum(np.log1p(stakes[:, None] * won), axis=1)
        wealth = np.logaddexp.reduce(money + np.log(_SPREAD)[:, None], axis=0)
        highest[recipe] = np.maximum.accumulate(np.maximum(wealth, 0.0))
    return highest, means


def rounds(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples in random order, in pieces after each of which recipes may be dropped.

    Each piece is as large as all before it, groups stay whole, and a rest that is less than half
    of what a piece should be belongs to the one before. The order is the same every time.
    """
    shuffled = sorted(examples, key=lambda example: digest(["race", example.group]))
    pieces: list[list[Example]] = [[]]
    aim, taken = FIRST_ROUND, 0
    for _, members in groupby(shuffled, key=lambda example: example.group):
        group = list(members)
        if taken >= aim and len(shuffled) - taken >= aim / 2:
            pieces.append([])
            aim = 2 * taken
        pieces[-1] += group
        taken += len(group)
    return pieces


def overtaken(
    scores: Mapping[str, float | None],
    rival: Mapping[str, float | None],
    measured: Sequence[Example],
    *,
    margin: float,
    level: float,
) -> bool:
    """Whether `rival` is shown to score more than `margin` above `scores`.

    `measured` are the examples that both were measured on, in the order of the race and in whole
    groups; None is an example that failed, which says nothing. `level` is the share of all studies
    in which that may be said although it is not so, however often one looks.
    """
    differences = list(_differences(scores, rival, measured))
    if not differences:
        return False
    wealth = log_wealth(differences, margin=margin)
    return bool(wealth.max() >= -math.log(level))


def _differences(
    scores: Mapping[str, float | None],
    rival: Mapping[str, float | None],
    measured: Sequence[Example],
) -> Iterator[float]:
    """How much higher the rival is on each group, in units of the largest group."""
    grouped = [list(members) for _, members in groupby(measured, key=lambda e: e.group)]
    largest = max((len(group) for group in grouped), default=1)
    for group in grouped:
        pairs = [(rival[e.id], scores[e.id]) for e in group]
        known = [high - low for high, low in pairs if high is not None and low is not None]
        if known:
            yield sum(known) / largest


def _numbers(groups: Sequence[Hashable]) -> list[int]:
    """Groups counted from 0 in the order in which they begin."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(group, len(numbers)) for group in groups]


def _shape(scores: Floats) -> tuple[int, int]:
    recipes, num_examples = np.atleast_2d(scores).shape
    if recipes < 2 or num_examples < 1:
        raise TrialError(
            f"race: {recipes} recipe(s) on {num_examples} example(s). At least 2 recipes and 1 "
            "example are needed: there is nothing to race."
        )
    wrong = np.argwhere(~((scores >= 0) & (scores <= 1)))
    if wrong.size:
        recipe, example = (int(at) for at in wrong[0])
        raise TrialError(
            f"race: recipe {recipe} has {scores[recipe, example]} on example {example}. A score "
            "from 0 to 1 is expected: leave examples without one out for all recipes."
        )
    return recipes, num_examples


def _check(values: Floats, margin: float) -> None:
    wrong = np.flatnonzero(~((values >= -1) & (values <= 1)))
    if wrong.size:
        raise TrialError(
            f"race: difference {int(wrong[0])} is {values[wrong[0]]}. A number from -1 to 1 is "
            "expected: subtract scores from 0 to 1."
        )
    if not -1 < margin < 1:
        raise TrialError(
            f"race: the margin is {margin}. A number between -1 and 1 is expected, for instance "
            "0.02."
        )

"""What would change the answer: for each thing that may be otherwise, where another recipe wins.

    tolerance            now 0.02    0 ─ lora ─ 0.048 ─ head ─ 1
    p95_ms               no limit    0 ─ nothing ─ 3 ms ─ tfidf ─ 812 ms ─ lora →
    volume               unlimited   1 ─ zero-shot ─ 1,585 answers ─ lora →

The decision is taken again on what was measured, with one thing changed. It depends on each of
them in steps, and where a step can be follows from the figures: a tolerance matters where it
passes an estimate or the end of an interval, a limit where it passes a recipe's figure, and costs
where two of them pass `SAME_COST` of each other. So the values are exact, given the
measurements; the costs and waits themselves are of one machine on one day.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from steelyard.core import Comparison, Json, Limits, Outcome, Task
from steelyard.measure.decision import SAME_COST, Candidate, Decision, conclude, settle
from steelyard.measure.money import price_of
from steelyard.measure.trial import Price
from steelyard.measure.verdict import (
    Weighed,
    candidate,
    latency,
    setup_usd,
    usd_per_1k,
    within_limits,
)
from steelyard.tasks.wording import money

Line = tuple[float, float]  # fixed and slope: a cost as x moves, fixed + slope · x
LARGEST_STEP = 1e9  # beyond this many answers or times as much, a step is of no use. Source: ours


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verdict comes to; `recipe` is the chosen one, or the safer bet."""

    outcome: Outcome
    recipe: str | None

    def __str__(self) -> str:
        if self.outcome == "chosen":
            return f"{self.recipe} would be used"
        if self.outcome == "cannot_tell":
            return f"the data could not tell ({self.recipe} would be the safer bet)"
        return "nothing would do"

    def instead_of(self, now: Answer) -> str:
        """What another value comes to, where `now` is what the verdict came to.

        The safer bet of data that cannot tell is no choice yet, so it may become one.

        >>> Answer("chosen", "a").instead_of(Answer("cannot_tell", "a"))
        'a, now the safer bet, would be chosen'
        >>> Answer("chosen", "b").instead_of(Answer("cannot_tell", "a"))
        'b would be used'
        """
        if now.outcome == "cannot_tell" and self.outcome == "cannot_tell":
            return f"the data could still not tell ({self.recipe} would be the safer bet)"
        if now.outcome == "cannot_tell" and self.recipe == now.recipe:
            return f"{self.recipe}, now the safer bet, would be chosen"
        return str(self)


@dataclass(frozen=True, slots=True)
class Case:
    """What a decision rests on, so that it can be taken again with one thing changed.

    `lines` are the running cost per thousand answers and the set-up's cost, and `hours` the
    machine-hours that a thousand answers take where these are what is paid for. `models` are the
    names of the models that are paid by the token. Units: US dollars.
    """

    candidates: tuple[Candidate, ...]
    comparisons: tuple[Comparison, ...]
    tests: tuple[Comparison, ...]
    limits: Limits
    tolerance: float
    confidence: float
    usd_per_machine_hour: float
    p95_ms: Mapping[str, float | None]
    lines: Mapping[str, Line]
    hours: Mapping[str, float]
    models: Mapping[str, str]

    def again(
        self,
        *,
        tolerance: float | None = None,
        limits: Limits | None = None,
        costs: Mapping[str, float] | None = None,
        total: bool = False,
    ) -> Answer:
        """The answer with another tolerance, other limits, or other costs per thousand answers.

        Costs in `total` hold a share of the set-up: limits are on running costs and stay as met.
        """
        tolerance = self.tolerance if tolerance is None else tolerance
        limits = limits or self.limits
        costs = costs or {}
        changed = []
        for one in self.candidates:
            usd = costs.get(one.name, one.usd_per_1k)
            running = one.usd_per_1k if total else usd
            eligible = within_limits(limits, usd_per_1k=running, p95_ms=self.p95_ms[one.name])
            changed.append(replace(one, usd_per_1k=usd, eligible=eligible))
        decision = conclude(
            changed, self.comparisons, tolerance=tolerance, confidence=self.confidence
        )
        for test in self.tests:
            if decision.outcome == "cannot_tell" and (test.a, test.b) == (
                decision.best,
                decision.rival,
            ):
                able = [one.name for one in changed if one.eligible]
                decision = settle(decision, test, tolerance=tolerance, eligible=able)
        return Answer(decision.outcome, decision.chosen or decision.prefer)


def case_of(
    weighed: Sequence[Weighed],
    decision: Decision,
    tests: tuple[Comparison, ...],
    task: Task,
    *,
    confidence: float,
) -> Case:
    """The case of a decision on dev, after the comparisons on the sealed test."""
    known = {*decision.standings, "majority"}
    measured = [one for one in weighed if one.recipe.name in known and one.rows.get("dev")]
    candidates = tuple(candidate(one, task) for one in measured)
    running = {one.name: one.usd_per_1k for one in candidates}
    by_token = {
        one.recipe.name: one.recipe.model
        for one in measured
        if price_of(one.recipe, task).is_by_token
    }
    return Case(
        candidates=candidates,
        comparisons=tuple(c for c in decision.comparisons if c.split == "dev"),
        tests=tests,
        limits=task.limits,
        tolerance=task.tolerance,
        confidence=confidence,
        usd_per_machine_hour=task.usd_per_machine_hour,
        p95_ms={one.recipe.name: latency(one.rows["dev"]).p95 for one in measured},
        lines={
            one.recipe.name: (running[one.recipe.name], setup_usd(one, task)) for one in measured
        },
        hours={
            one.recipe.name: _hours_per_1k(one)
            for one in measured
            if one.recipe.name not in by_token
        },
        models=by_token,
    )


def _hours_per_1k(weighed: Weighed) -> float:
    """Machine-hours of a thousand answers, from the rows that its running cost comes from."""
    priced = Price(1.0)  # a dollar an hour: the cost is the hours
    rows = [
        replace(row, cost_usd=priced.of(row.answer.usage, row.compute_ms))
        for row in weighed.rows["dev"]
    ]
    return usd_per_1k(rows)


# ---------------------------------------------------------------- where it changes


def turning_points(case: Case) -> tuple[Json, ...]:
    """An entry for each thing that may be otherwise: `of`, `about`, `now`, `answers`, `sentence`.

    `answers` are the pieces of its axis, each with what would come of it; `now` is None where it is
    without bound: no limit, or a choice for any number of answers.
    """
    found = [_tolerance(case), _wait(case), _spending(case), _volume(case)]
    found += [_machine_hour(case), *(_tokens(case, m) for m in dict.fromkeys(case.models.values()))]
    found.append(_cost(case))
    return tuple(entry for entry in found if entry is not None)


def _tolerance(case: Case) -> Json:
    best = max(
        (one for one in case.candidates if one.name != "majority"), key=lambda one: one.mean
    ).name
    behind = [c for c in case.comparisons if c.a == best and c.b != "majority"]
    steps = [value for c in behind for value in (c.difference, c.interval[1])]
    pieces = _pieces(steps, 0.0, 1.0, lambda value: case.again(tolerance=value))
    return _entry("tolerance", case.tolerance, pieces, "Tolerance", _plain)


def _wait(case: Case) -> Json:
    steps = [p95 for p95 in case.p95_ms.values() if p95 is not None]
    if not steps:
        return None

    def answer(value: float) -> Answer:
        return case.again(limits=replace(case.limits, p95_ms=value))

    pieces = _pieces(steps, 0.0, math.inf, answer)
    return _entry("p95_ms", case.limits.p95_ms, pieces, "Limit on the p95 wait", _ms)


def _spending(case: Case) -> Json:
    steps = [one.usd_per_1k for one in case.candidates]

    def answer(value: float) -> Answer:
        return case.again(limits=replace(case.limits, usd_per_1k=value))

    pieces = _pieces(steps, 0.0, math.inf, answer)
    title = "Limit on the cost of 1,000 answers"
    return _entry("usd_per_1k", case.limits.usd_per_1k, pieces, title, _usd)


def _volume(case: Case) -> Json:
    """Over the number of answers in all, the set-up shared among them."""
    pieces = [
        {**piece, "from": 1000 / (piece["to"] or math.inf), "to": _inverse(piece["from"])}
        for piece in reversed(_priced(case, case.lines, 1000.0, total=True))
    ]
    return _entry("volume", None, _merged(pieces), "Answers in all, set-up included", _count)


def _inverse(share: float) -> float | None:
    volume = 1000 / share if share else math.inf
    return volume if volume <= LARGEST_STEP else None


def _machine_hour(case: Case) -> Json:
    """Where all is paid by the machine-hour, its price changes nothing but what limits allow."""
    if not case.hours or (not case.models and case.limits.usd_per_1k is None):
        return None
    lines = {
        name: (0.0, case.hours[name]) if name in case.hours else (running, 0.0)
        for name, (running, _) in case.lines.items()
    }
    pieces = _priced(case, lines, math.inf)
    now = case.usd_per_machine_hour
    return _entry("usd_per_machine_hour", now, pieces, "Price of a machine-hour", _usd)


def _tokens(case: Case, model: str) -> Json:
    lines = {
        name: (0.0, running) if case.models.get(name) == model else (running, 0.0)
        for name, (running, _) in case.lines.items()
    }
    pieces = _priced(case, lines, math.inf)
    entry = _entry("token_price", 1.0, pieces, f"Token prices of {model}", _times)
    return {**entry, "about": model}


def _cost(case: Case) -> Json:
    """Of the recipe that is the answer now, all others' costs as they are."""
    name = case.again().recipe
    if name is None or case.lines[name][0] <= 0:
        return None
    lines = {
        other: (0.0, running) if other == name else (running, 0.0)
        for other, (running, _) in case.lines.items()
    }
    pieces = _priced(case, lines, math.inf)
    return {**_entry("cost", 1.0, pieces, f"Running cost of {name}", _times), "about": name}


def _priced(
    case: Case, lines: Mapping[str, Line], most: float, *, total: bool = False
) -> list[Json]:
    """The pieces of an axis along which the costs of recipes are lines."""
    steps = []
    for (fixed, slope), (fixed2, slope2) in itertools.permutations(lines.values(), 2):
        if slope != SAME_COST * slope2:
            steps.append((SAME_COST * fixed2 - fixed) / (slope - SAME_COST * slope2))
    if case.limits.usd_per_1k is not None and not total:
        limit = case.limits.usd_per_1k
        steps += [(limit - fixed) / slope for fixed, slope in lines.values() if slope]

    def answer(x: float) -> Answer:
        costs = {name: fixed + slope * x for name, (fixed, slope) in lines.items()}
        return case.again(costs=costs, total=total)

    return _pieces(steps, 0.0, most, answer)


def _pieces(
    steps: Iterable[float], least: float, most: float, answer: Callable[[float], Answer]
) -> list[Json]:
    """The axis from `least` to `most`, cut where the answer changes.

    >>> cut = _pieces([0.5, 0.2], 0, 1, lambda x: Answer("chosen", "a" if x < 0.5 else "b"))
    >>> [(piece["from"], piece["to"], piece["recipe"]) for piece in cut]
    [(0, 0.5, 'a'), (0.5, 1, 'b')]
    """
    inside = sorted({step for step in steps if least < step < min(most, LARGEST_STEP)})
    pieces = []
    for low, high in itertools.pairwise([least, *inside, most]):
        middle = (low + high) / 2 if high < math.inf else 2 * low + 1
        found = answer(middle)
        pieces.append(
            {
                "from": low,
                "to": None if high == math.inf else high,
                "outcome": found.outcome,
                "recipe": found.recipe,
            }
        )
    return _merged(pieces)


def _merged(pieces: Sequence[Json]) -> list[Json]:
    """Neighbours with the same answer become one."""
    merged: list[Json] = []
    for piece in pieces:
        if merged and _answer(merged[-1]) == _answer(piece):
            merged[-1] = {**merged[-1], "to": piece["to"]}
        else:
            merged.append(piece)
    return merged


def _answer(piece: Json) -> Answer:
    return Answer(piece["outcome"], piece["recipe"])


# ---------------------------------------------------------------- in words


def _entry(
    of: str, now: float | None, pieces: list[Json], title: str, form: Callable[[float], str]
) -> Json:
    return {
        "of": of,
        "about": None,
        "now": now,
        "answers": pieces,
        "sentence": f"{title} ({_now(of, now, form)}): {_words(pieces, now, form)}.",
    }


def _now(of: str, now: float | None, form: Callable[[float], str]) -> str:
    if now is None:
        return "decided for any number" if of == "volume" else "now none"
    return f"now {form(now)}"


def _words(pieces: Sequence[Json], now: float | None, form: Callable[[float], str]) -> str:
    """What would come of less, and of more, than now; the nearest step on either side."""
    at = here(pieces, now)
    current, said = _answer(pieces[at]), []
    if at > 0:
        less = _answer(pieces[at - 1]).instead_of(current)
        said.append(f"below {form(pieces[at]['from'])} {less}")
    if at + 1 < len(pieces):
        more = _answer(pieces[at + 1]).instead_of(current)
        said.append(f"from {form(pieces[at]['to'])} on {more}")
    return "; ".join(said) or "no other value changes the answer"


def here(pieces: Sequence[Json], now: float | None) -> int:
    """Which piece of its axis the value is in that holds now."""
    if now is None:
        return len(pieces) - 1
    return max(i for i, piece in enumerate(pieces) if piece["from"] <= now or i == 0)


def _plain(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _usd(value: float) -> str:
    return f"{money(value)} USD" if value < 100 else f"{value:,.0f} USD"


def _times(value: float) -> str:
    return f"{value:.2g}×"


def _count(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"

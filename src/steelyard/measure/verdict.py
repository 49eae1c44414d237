"""Trials → Verdict: the figures of every recipe, put together with the decision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from steelyard.core import (
    BreakEven,
    Json,
    Latency,
    Limits,
    Recipe,
    RecipeReport,
    Row,
    Score,
    Split,
    SplitReport,
    Status,
    Task,
)
from steelyard.measure.decision import Candidate, Decision
from steelyard.measure.grading import Grader
from steelyard.measure.money import num_labels, observations, per_1k_interval, price_of
from steelyard.measure.statistics import break_even, mean_interval
from steelyard.models.chat_reply import MALFORMED, REFUSED

FAILED_SHARE = 0.05  # more failed examples than this and a recipe has no score. Source: ours
MEASURED: tuple[Status, ...] = ("finished", "eliminated")  # those that have scores
NUM_DISAGREEMENTS = 12
READ_SHARE = 1 / 3  # of the time of a written token in a batch; a guess. Source: ours
RECIPES_SIDE_BY_SIDE = 5


@dataclass(frozen=True)
class Weighed:
    """A recipe and all that came of it: rows by split, or why there are none.

    A `diagnostic` recipe explains the others and is never among those to choose from. `note` says
    what was found where something was searched for, and `asked_usd` what the tokens cost
    that other models wrote for it. `num_tried` counts answers on dev of weights that had only a
    part of their training; they are not among the rows once it went on.
    """

    recipe: Recipe
    control: bool
    status: Status
    why: str | None = None
    setup_seconds: float | None = None
    curve: Json = None
    note: str | None = None
    asked_usd: float = 0.0
    seed_scores: tuple[float, ...] = ()
    guards: Json = None
    injections: Json = None
    diagnostic: bool = False
    num_tried: int = 0
    rows: Mapping[Split, Sequence[Row]] = field(default_factory=dict)


def checked(weighed: Weighed, num_examples: int | None = None) -> Weighed:
    """The same, `failed` when too many of its dev examples are errors: of those measured, or of
    `num_examples` that there are to be measured."""
    rows = weighed.rows.get("dev", ())
    errors = [row.error for row in rows if row.error is not None]
    if not rows or len(errors) <= FAILED_SHARE * (num_examples or len(rows)):
        return weighed
    why = f"{len(errors)} of {len(rows)} examples failed, the first with: {errors[0]}"
    return replace(weighed, status="failed", why=why)


def usage_note(recipe: Recipe, rows: Sequence[Row]) -> str | None:
    """What tokens were counted here, and how many answers were refused or malformed."""
    found = []
    if count := sum(row.answer.usage.estimated for row in rows if row.error is None):
        found.append(
            f"{recipe.name}: {count} of {len(rows)} answers came with no usage that can be true; "
            "their tokens and cost are estimated."
        )
    for kind, said in ((REFUSED, "refused"), (MALFORMED, "malformed")):
        if count := sum((row.error or "").startswith(kind) for row in rows):
            found.append(f"{recipe.name}: {count} of {len(rows)} answers were {said}.")
    return " ".join(found) or None


def candidate(weighed: Weighed, task: Task, split: Split = "dev") -> Candidate:
    """A measured recipe as the decision sees it."""
    rows = weighed.rows[split]
    usd = usd_per_1k(rows)
    p95 = latency(rows).p95
    by_token = price_of(weighed.recipe, task).is_by_token
    return Candidate(
        recipe=weighed.recipe,
        scores={row.example_id: row.score.value for row in rows if row.score is not None},
        usd_per_1k=usd,
        eligible=within_limits(task.limits, usd_per_1k=usd, p95_ms=p95),
        work=None if by_token or weighed.recipe.weights.method == "head" else work(rows),
    )


def within_limits(limits: Limits, *, usd_per_1k: float, p95_ms: float | None) -> bool:
    """Whether a task's limits allow choosing what costs and takes so much."""
    over_cost = limits.usd_per_1k is not None and usd_per_1k > limits.usd_per_1k
    over_time = limits.p95_ms is not None and p95_ms is not None and p95_ms > limits.p95_ms
    return not (over_cost or over_time)


def finalists(decision: Decision, weighed: Sequence[Weighed]) -> list[str]:
    """Who is measured on the sealed test split: two recipes, or none when nothing works.

    The chosen one and the plain prompt; where the plain prompt was chosen, its runner-up; the
    two that could not be told apart.
    """
    if decision.outcome == "nothing_works":
        return []
    if decision.outcome == "cannot_tell":
        pair = dict.fromkeys([decision.best, str(decision.rival)])
        return list(pair)
    assert decision.chosen is not None
    return [decision.chosen, baseline(decision.chosen, decision, weighed)]


def baseline(chosen: str, decision: Decision, weighed: Sequence[Weighed]) -> str:
    """What the chosen recipe is held against: the plain prompt on its own model, if it can be."""
    finished = [w for w in weighed if w.status == "finished" and w.recipe.name != chosen]
    asked = [w for w in weighed if w.status in MEASURED and w.recipe.name != chosen]
    plain = [w.recipe for w in asked if w.recipe.name.split("@")[0] == "zero-shot"]
    model = next(w.recipe.model for w in weighed if w.recipe.name == chosen)
    is_plain = chosen.split("@")[0] == "zero-shot"
    if plain and not is_plain:
        return next((r.name for r in plain if r.model == model), plain[0].name)
    if decision.best != chosen:
        return decision.best
    by_score = sorted(
        (w for w in finished if w.recipe.name != "majority"),
        key=lambda w: -_mean([row.score for row in w.rows["dev"]]),
    )
    return by_score[0].recipe.name if by_score else "majority"


def report(
    weighed: Weighed, grader: Grader, task: Task, *, confidence: float, seed: int
) -> RecipeReport:
    """One line of the league table."""
    recipe = weighed.recipe
    control = recipe.model == recipe.name
    dev = weighed.rows.get("dev", ())
    seconds = weighed.setup_seconds
    usages = [row.answer.usage for row in dev if row.error is None]
    count = max(1, len(usages))
    return RecipeReport(
        name=recipe.name,
        model=recipe.model,
        context="none" if control or recipe.weights.method == "head" else str(recipe.context),
        weights="none" if control else str(recipe.weights),
        decoding="none" if control else str(recipe.decoding),
        control=weighed.control,
        status=weighed.status,
        diagnostic=weighed.diagnostic,
        why=weighed.why,
        dev=_split_report(weighed, "dev", grader, confidence, seed),
        test=_split_report(weighed, "test", grader, confidence, seed),
        setup_seconds=seconds,
        setup_usd=None if seconds is None else setup_usd(weighed, task),
        usd_per_1k=usd_per_1k(dev) if dev else None,
        prompt_tokens=sum(u.prompt_tokens for u in usages) / count if usages else None,
        cached_tokens=sum(u.cached_tokens for u in usages) / count if usages else None,
        completion_tokens=sum(u.completion_tokens for u in usages) / count if usages else None,
        latency_ms=latency(dev),
        usd_per_1k_interval=per_1k_interval(
            priced_rows(dev), price_of(recipe, task), confidence=confidence, seed=seed
        ),
        num_labels=num_labels(recipe, task),
        learning_curve=weighed.curve,
        trained_share=trained_share(weighed.curve),
        key=recipe.key,
        seed_scores=weighed.seed_scores,
        guards=weighed.guards,
        injections=weighed.injections,
    )


def trained_share(curve: Json) -> float | None:
    """The share of all steps after which training ended, or paused; None without training, and
    where an earlier version trained."""
    if not curve or not curve.get("num_steps"):
        return None
    return float(curve["step"] / curve["num_steps"])


def setup_usd(weighed: Weighed, task: Task) -> float:
    """US dollars for building a recipe: machine time, what was paid by the token, and the labels
    that it is built from, where they are priced."""
    hours = (weighed.setup_seconds or 0.0) / 3600
    labels = num_labels(weighed.recipe, task) * task.usd_per_label
    return hours * task.usd_per_machine_hour + weighed.asked_usd + labels


def _split_report(
    weighed: Weighed, split: Split, grader: Grader, confidence: float, seed: int
) -> SplitReport | None:
    rows = weighed.rows.get(split, ())
    scored = [(row.score, row.group) for row in rows if row.score is not None]
    if weighed.status not in MEASURED or len({group for _, group in scored}) < 2:
        return None
    values = [score.value for score, _ in scored]
    groups = [group for _, group in scored]
    return SplitReport(
        score=_mean([score for score, _ in scored]),
        interval=mean_interval(values, groups, confidence=confidence, seed=seed),
        num_examples=len(rows),
        num_errors=len(rows) - len(scored),
        details=grader.summarise([score for score, _ in scored]),
    )


def usd_per_1k(rows: Sequence[Row]) -> float:
    """US dollars per thousand answers, from the rows of the largest batches."""
    costs = [row.cost_usd for row in priced_rows(rows)]
    return 1000 * sum(costs) / len(costs) if costs else 0.0


def work(rows: Sequence[Row]) -> float | None:
    """What an answer of these rows is for a model, in tokens: those it writes, and of those it
    reads for this answer alone a `READ_SHARE`. None where no token was counted."""
    used = [row.answer.usage for row in priced_rows(rows)]
    tokens = sum(
        one.completion_tokens + READ_SHARE * (one.prompt_tokens - one.cached_tokens) for one in used
    )
    return tokens / len(used) if tokens else None


def priced_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """Those that a cost comes from: of the largest batches, as a busy machine would have them."""
    largest = max((row.batch_size for row in rows), default=0)
    return [row for row in rows if row.batch_size == largest]


def latency(rows: Sequence[Row]) -> Latency:
    """Percentiles over the rows answered alone: the nearest rank, so always a measured value."""
    values = sorted(row.latency_ms for row in rows if row.latency_ms is not None)
    if not values:
        return Latency()

    def rank(share: float) -> float:
        return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)]

    return Latency(rank(0.5), rank(0.95))


def break_evens(
    weighed: Sequence[Weighed], names: Sequence[str], task: Task, *, seed: int
) -> list[BreakEven]:
    """When each of `names` overtakes, or is overtaken by, every other measured recipe."""
    found: dict[tuple[str, str], BreakEven] = {}
    finished = [w for w in weighed if w.status in MEASURED and w.setup_seconds is not None]
    for one in finished:
        for other in finished:
            if one.recipe.name not in names or one is other:
                continue
            dear, cheap = sorted((one, other), key=lambda w: setup_usd(w, task), reverse=True)
            pair = (dear.recipe.name, cheap.recipe.name)
            if pair not in found:
                calls, interval = _break_even(dear, cheap, task, seed)
                found[pair] = BreakEven(*pair, calls, interval)
    return list(found.values())


def _break_even(
    dear: Weighed, cheap: Weighed, task: Task, seed: int
) -> tuple[float | None, tuple[float, float | None] | None]:
    """Without an interval where one batch was all there was of either, or where they share none."""
    extra = setup_usd(dear, task) - setup_usd(cheap, task)
    usd = [usd_per_1k(w.rows["dev"]) / 1000 for w in (dear, cheap)]
    calls, _ = break_even(extra, usd[:1] * 2, 0.0, usd[1:] * 2, seed=seed)
    rows = [{row.example_id: row for row in priced_rows(w.rows["dev"])} for w in (dear, cheap)]
    sides = [[by_id[e] for e in rows[0] if e in rows[1]] for by_id in rows]
    observed = [
        observations(side, price_of(w.recipe, task))
        for side, w in zip(sides, (dear, cheap), strict=True)
    ]
    if any(len(set(one)) < 2 for one in observed):
        return calls, None
    costs = [[row.cost_usd for row in side] for side in sides]
    together = [f"{a} {b}" for a, b in zip(*observed, strict=True)]
    _, interval = break_even(extra, costs[0], 0.0, costs[1], groups=together, seed=seed)
    return calls, interval


def disagreements(task: Task, weighed: Sequence[Weighed], first: Sequence[str]) -> list[Json]:
    """The dev examples on which recipes differ most, side by side; test stays unseen.

    `first` are the recipes that must be among those shown.
    """
    shown = list(_side_by_side(weighed, first))
    rows = {w.recipe.name: {row.example_id: row for row in w.rows["dev"]} for w in shown}
    spreads = []
    for place, example in enumerate(task.dev):
        found = [by_id.get(example.id) for by_id in rows.values()]
        values = [row.score.value for row in found if row is not None and row.score is not None]
        if values and max(values) > min(values):
            spreads.append((max(values) - min(values), -place, example))
    spreads.sort(key=lambda entry: entry[:2], reverse=True)
    return [
        {
            "id": example.id,
            "split": "dev",
            "input": example.input,
            "target": example.target,
            "answers": [
                _side(name, by_id[example.id])
                for name, by_id in rows.items()
                if example.id in by_id
            ],
        }
        for _, _, example in spreads[:NUM_DISAGREEMENTS]
    ]


def _side_by_side(weighed: Sequence[Weighed], first: Sequence[str]) -> Iterator[Weighed]:
    finished = [w for w in weighed if w.status == "finished" and w.recipe.name != "majority"]
    order = sorted(
        finished,
        key=lambda w: (w.recipe.name not in first, -_mean([r.score for r in w.rows["dev"]])),
    )
    yield from order[:RECIPES_SIDE_BY_SIDE]


def _side(name: str, row: Row) -> Json:
    return {
        "recipe": name,
        "text": row.answer.text,
        "value": row.answer.value,
        "valid": row.answer.valid,
        "score": None if row.score is None else row.score.value,
        "error": row.error,
    }


def _mean(scores: Sequence[Score | None]) -> float:
    values = [score.value for score in scores if score is not None]
    return sum(values) / len(values)

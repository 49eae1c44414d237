"""The verdict in plain sentences. Scores only: times and prices differ from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev

from steelyard.core import Comparison, Json, RecipeReport, SplitReport, Task
from steelyard.measure.decision import Decision
from steelyard.measure.statistics import examples_needed, minimum_detectable_difference

SMALL_DIFFERENCE = 0.10  # Source: Miller 2024, arXiv:2411.00640: what few examples can tell
OVER_FITTED = 0.05  # by this share of it the held-out loss rose, and not by chance. Source: ours
LIKELY_DISAGREEMENT = 0.3  # share of examples two recipes differ on, before anything is known


def reason(
    task: Task,
    decision: Decision,
    reports: Mapping[str, RecipeReport],
    tests: Sequence[Comparison],
    *,
    confidence: float,
) -> str:
    """Why this outcome, in sentences a colleague can check against the tables."""
    if decision.outcome == "nothing_works":
        parts = _nothing_works(decision, reports)
    elif decision.outcome == "cannot_tell":
        parts = _cannot_tell(task, decision, tests, confidence)
    else:
        parts = _chosen(task, decision, reports, tests, confidence)
    return " ".join(part for part in parts if part)


def minimum_difference(num_examples: int) -> float:
    """What dev can tell apart, before anything runs: 80 % power when 30 % disagree."""
    return minimum_detectable_difference(num_examples, disagreement=LIKELY_DISAGREEMENT)


def warnings(task: Task, reports: Sequence[RecipeReport]) -> list[str]:
    """What a reader should know before believing the tables."""
    found = []
    smallest = minimum_difference(len(task.dev))
    if smallest > SMALL_DIFFERENCE:
        found.append(
            f"With {len(task.dev)} dev examples a difference under {smallest:.2f} is likely to go "
            "unseen, if two recipes disagree on three examples in ten."
        )
    for report in reports:
        for name, split in (("dev", report.dev), ("test", report.test)):
            if split is not None and split.num_errors:
                failed = _count(split.num_errors, f"{name} example")
                found.append(f"{report.name} failed on {failed}; they have no score.")
        if curve := report.learning_curve:
            for earlier in curve.get("earlier", ()):
                found += _training(f"{report.name} ({earlier['stage']})", earlier)
            found += _training(report.name, curve)
        if report.status in ("failed", "skipped"):
            found.append(f"{report.name} was {report.status}: {report.why}.")
    return found + _unread(reports)


def _unread(reports: Sequence[RecipeReport]) -> list[str]:
    """Weights that know less than an untrained model reads: they fall below plain retrieval."""
    measured = [(r, r.dev) for r in reports if r.dev is not None and not r.diagnostic]
    reading = [(r, d) for r, d in measured if r.weights == "none" and " passages (" in r.context]
    if not reading:
        return []
    best, dev = max(reading, key=lambda pair: pair[1].score)
    return [
        f"{report.name}, trained and shown no passages, scores {own.score:.3f} on dev, below "
        f"{best.name}, which is not trained and reads them ({dev.score:.3f}): what the documents "
        "hold is not in its weights."
        for report, own in measured
        if report.weights != "none"
        and " passages (" not in report.context
        and own.interval[1] < dev.interval[0]
    ]


def seeds(reports: Sequence[RecipeReport], num_seeds: int) -> list[str]:
    """How far chance in training alone moves the dev score of each recipe."""
    found = []
    for report in reports:
        scores = report.seed_scores
        if not scores:
            continue
        each = ", ".join(f"{score:.3f}" for score in scores)
        if len(scores) < num_seeds:
            found.append(
                f"{report.name} was trained with {_count(len(scores), 'seed')} of {num_seeds}, "
                f"because the next one failed or had no time: dev {each}."
            )
        else:
            found.append(
                f"{report.name} was trained with {len(scores)} seeds: dev {each}; mean "
                f"{mean(scores):.3f}, standard deviation {stdev(scores):.3f}. The first is the "
                "one that is compared."
            )
    return found


def race(task: Task, reports: Sequence[RecipeReport]) -> list[str]:
    """What was not measured because recipes were dropped, or because time ran out."""
    found = []
    finished = [r.dev.num_examples for r in reports if r.status == "finished" and r.dev is not None]
    if finished and min(finished) < len(task.dev):
        found.append(
            f"The time limit came: recipes are compared on {min(finished)} of {len(task.dev)} dev "
            "examples, the ones that all of them were measured on."
        )
    dropped = sum(report.status == "eliminated" for report in reports)
    if dropped:
        found.append(
            f"{_count(dropped, 'recipe')} {'was' if dropped == 1 else 'were'} dropped on the way, "
            "because others are shown to be higher; --exhaustive measures all to the end."
        )
    for report in reports:
        if report.status == "eliminated" and (report.trained_share or 1.0) < 1:
            found += _in_part(report)
    return found


def _in_part(report: RecipeReport) -> list[str]:
    """What a dropped recipe might have come to with the rest of its training."""
    if report.learning_curve["stopped"]:
        return []
    return [
        f"{report.name} was dropped after {report.trained_share:.0%} of its training, and is "
        "measured as it was then: with all of it, it might score more."
    ]


def _training(name: str, curve: Mapping[str, Json]) -> list[str]:
    """What a learning curve warns of."""
    found = []
    if curve["num_too_long"]:
        count = _count(curve["num_too_long"], "training row")
        found.append(f"{name} left out {count}, longer than the model's context.")
    if curve.get("trouble"):
        found.append(f"The training of {name} went wrong: {curve['stopped']}.")
    points = [point for point in curve["points"] if point["held_out_loss"] is not None]
    best = next((point for point in points if point["step"] == curve["best_step"]), None)
    if best is None:
        return found
    last, least = points[-1], best["held_out_loss"]
    rose = last["held_out_loss"] > least * (1 + OVER_FITTED)
    if rose and last["train_loss"] < best["train_loss"]:
        found.append(
            f"{name} over-fitted after step {best['step']}: by step {last['step']} its loss on "
            f"rows held out rose from {least:.3f} to {last['held_out_loss']:.3f}, while on the "
            f"rows it learned from it fell to {last['train_loss']:.3f}. The weights of step "
            f"{best['step']} are used."
        )
    return found


def _chosen(
    task: Task,
    decision: Decision,
    reports: Mapping[str, RecipeReport],
    tests: Sequence[Comparison],
    confidence: float,
) -> list[str]:
    name = str(decision.chosen)
    parts = [f"Use {name}."]
    for test in (_seen_from(name, test) for test in tests):
        mine, other = reports[test.a].test, reports[test.b].test
        if mine is None or other is None:
            continue
        parts.append(
            f"On {test.num_examples} sealed test examples it scores {_with_interval(mine)}, and "
            f"{test.b} scores {_with_interval(other)}: {_difference(test)}."
        )
        parts.append(_errors(test.a, mine.num_errors) + _errors(test.b, other.num_errors))
    dropped = sum(report.status == "eliminated" for report in reports.values())
    parts.append(_why_chosen(task, decision, name, dropped))
    parts.append(_other_arm(reports, name))
    lower = [
        c
        for c in decision.comparisons
        if c.a == name and c.b != "majority" and c.difference > 0 and c.p_adjusted < 1 - confidence
    ]
    if name == decision.best and decision.rival is None and (lower or dropped):
        way = f", {dropped} of them dropped on the way" if dropped else ""
        count = _count(len(lower) + dropped, "recipe")
        parts.append(f"{count} scored lower beyond chance on dev{way}.")
    return parts


def _other_arm(reports: Mapping[str, RecipeReport], name: str) -> str:
    """What the best of the other arm comes to: prompts against weights, or the reverse."""
    mine = reports[name]
    others = [
        report
        for report in reports.values()
        if report.dev is not None
        and report.model != report.name
        and (report.weights == "none") != (mine.weights == "none")
    ]
    if mine.model == name or mine.dev is None or not others:
        return ""
    best = max(others, key=lambda report: report.dev.score if report.dev else 0.0)
    assert best.dev is not None
    kind = (
        "prompt without trained weights"
        if best.weights == "none"
        else "recipe with trained weights"
    )
    scores = f"{best.dev.score:.3f} on dev, against {mine.dev.score:.3f}"
    return f"The best {kind}, {best.name}, scores {scores}."


def _why_chosen(task: Task, decision: Decision, name: str, dropped: int) -> str:
    if decision.rival is not None:
        dev = _found(decision.comparisons, decision.best, decision.rival)
        return (
            f"The sealed test decided: {dev.num_examples} dev examples could not tell {dev.a} from "
            f"{dev.b} ({dev.a} is {_difference(dev)})."
        )
    if name == decision.best:
        level = [n for n, standing in decision.standings.items() if standing == "within"]
        if level:
            also = " and ".join(sorted(level))
            return (
                f"On dev it scores highest; {also} {'is' if len(level) == 1 else 'are'} within "
                f"the tolerance of {task.tolerance:g} of it and not cheaper."
            )
        recipes = _count(len(decision.standings) + dropped, "recipe")
        return f"On dev it scores highest of {recipes}{_as_high(decision, name)}."
    against = _found(decision.comparisons, decision.best, name)
    gap = f"{against.difference:.3f} {_interval(against.interval)}"
    if decision.standings[name] == "within":
        return (
            f"On dev the best, {decision.best}, is {gap} higher, which is within the tolerance "
            f"of {task.tolerance:g}, and {name} costs no more."
        )
    if decision.standings[name] == "open":
        return (
            f"On dev nothing is shown to beat it: the best, {decision.best}, is {gap} higher, "
            f"which may be chance, and {name} costs no more."
        )
    return (
        f"On dev {decision.best} is {gap} higher, and is ruled out by the task's limits; {name} "
        "is the best of those within them."
    )


def _as_high(decision: Decision, name: str) -> str:
    same = sorted(c.b for c in decision.comparisons if c.a == name and c.difference == 0)
    verb = "scores" if len(same) == 1 else "score"
    return f"; {' and '.join(same)} {verb} the same" if same else ""


def _cannot_tell(
    task: Task, decision: Decision, tests: Sequence[Comparison], confidence: float
) -> list[str]:
    dev = _found(decision.comparisons, decision.best, str(decision.rival))
    parts = [
        f"Cannot tell {dev.a} from {dev.b}: on {dev.num_examples} dev examples the difference is "
        f"{dev.difference:.3f} {_interval(dev.interval)}, which leaves open whether it is above "
        f"the tolerance of {task.tolerance:g}."
    ]
    gap = max(abs(dev.difference), task.tolerance)
    spread = max((dev.interval[1] - dev.interval[0]) / 2, 1e-6)
    # The interval's half-width gives the share of squared differences that a power formula needs.
    disagreement = min(1.0, max(gap, dev.num_examples * (spread / 1.96) ** 2))
    needed = examples_needed(gap, disagreement=disagreement, confidence=confidence)
    if needed > dev.num_examples:
        parts.append(f"About {needed} dev examples would tell; there are {dev.num_examples}.")
    parts.append(f"Until then {decision.prefer} is the safer bet.")
    for test in tests:
        parts.append(
            f"On {test.num_examples} sealed test examples {test.a} is {_difference(test)} "
            f"(against {test.b})."
        )
        low, high = test.interval
        if low > 0 or high < 0:
            parts.append(
                "After dev could not tell, that is not enough: it counts at half the level."
            )
    return parts


def _nothing_works(decision: Decision, reports: Mapping[str, RecipeReport]) -> list[str]:
    ruled_out = [n for n, s in decision.standings.items() if s != "no better than majority"]
    if ruled_out:
        nearest = min(ruled_out, key=lambda n: reports[n].usd_per_1k or 0.0)
        return [f"Nothing works within the task's limits; {nearest} comes nearest to them."]
    against = _found(decision.comparisons, decision.best, "majority")
    return [
        f"Nothing works: on {against.num_examples} dev examples no recipe is shown to beat "
        "always giving the commonest answer.",
        f"The highest, {decision.best}, is {_difference(against)}.",
        f"A difference under {minimum_difference(against.num_examples):.2f} is likely to go "
        "unseen with this many examples.",
        "The sealed test was not opened.",
    ]


def _seen_from(name: str, test: Comparison) -> Comparison:
    """The comparison as `name` minus the other."""
    if test.a == name:
        return test
    low, high = test.interval
    return replace(test, a=test.b, b=test.a, difference=-test.difference, interval=(-high, -low))


def _found(comparisons: Sequence[Comparison], a: str, b: str) -> Comparison:
    return next(c for c in comparisons if (c.a, c.b) == (a, b))


def _difference(comparison: Comparison) -> str:
    low, high = comparison.interval
    way = "higher" if comparison.difference >= 0 else "lower"
    size = f"{abs(comparison.difference):.3f} {way}, interval {_interval(comparison.interval)}"
    return size if low > 0 or high < 0 else f"{size}, which may be chance"


def _with_interval(report: SplitReport) -> str:
    return f"{report.score:.3f} {_interval(report.interval)}"


def _interval(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _errors(name: str, count: int) -> str:
    return f"{name} failed on {_count(count, 'example')}, which have no score. " if count else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""Freshness of what was weighed, and what refreshing the index, the weights or both brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from steelyard.core import Example, Json, Recipe, Task
from steelyard.errors import InputError
from steelyard.knowledge.index import Scope
from steelyard.lifecycle.trials import CONFIDENCE, Trials
from steelyard.measure.decision import compare_pairs
from steelyard.measure.freshness import Aged, aged, cutoff_of, freshness, sentences
from steelyard.measure.money import num_labels
from steelyard.measure.trial import ALONE, OutOfTimeError
from steelyard.measure.verdict import Weighed, candidate
from steelyard.tasks.dates import iso_time

LEAST = 2  # rows that are learned from, and groups that are asked
OPTIONS = ("nothing", "index", "weights", "both")


def check_day(task: Task, day: str) -> str:
    """The day of `--built-on` in the one spelling of times.

    Raises:
        InputError: it is no date, or too few rows lie before or after it.
    """
    try:
        day = iso_time(day)
    except ValueError:
        raise InputError(f"--built-on {day}: expected a date such as 2026-03-01") from None
    old = [e for e in task.train if e.time is not None and e.time <= day]
    later = {e.group for e in task.dev if e.time is not None and e.time > day}
    if len(old) < LEAST or len(later) < LEAST:
        raise InputError(
            f"--built-on {day}: {len(old)} training rows are of that day or before, and "
            f"{len(later)} groups of dev after it; expected at least {LEAST} of each. Name another "
            "day, or a column of times under [data] time"
        )
    return day


def fresh(trials: Trials, weighed: Sequence[Weighed]) -> Json:
    """Scores before and after the newest training row, by fact and age, of every measured recipe;
    None where rows have no times, or none of dev lies after it."""
    task = trials.task
    cutoff = cutoff_of(task.train)
    if cutoff is None:
        return None
    known = aged(task.dev, cutoff, _versions(trials))
    if not any(one.days > 0 for one in known):
        return None
    entries = [
        freshness(
            one.recipe.name, one.rows["dev"], known, trials.grader.scorer, confidence=CONFIDENCE
        )
        for one in weighed
        if one.status == "finished" and one.rows.get("dev")
    ]
    for entry in entries:
        entry["sentence"] = sentences(entry, cutoff)
    return {"cutoff": cutoff, "recipes": entries, "refreshed": None}


def _versions(trials: Trials) -> Callable[[Example, str], str | None]:
    """The text of a row's evidence as it held at a time, where there are documents."""
    index = trials.lookup.documents
    kept: dict[tuple[tuple[str, ...], str], str | None] = {}

    def version(example: Example, at: str) -> str | None:
        if index is None or not example.evidence:
            return None
        key = (example.evidence, at)
        if key not in kept:
            scope = Scope(as_of=at, documents=frozenset(example.evidence))
            kept[key] = "\n".join(passage.text for passage in index.passages(scope))
        return kept[key]

    return version


def refreshed(trials: Trials, recipes: Sequence[Recipe], day: str) -> Json:
    """Recipes as if built on a day, asked what came after it: refreshed in no way, the index
    brought up to date, the labels of later rows learned, or both."""
    task = trials.task
    old = tuple(e for e in task.train if e.time is not None and e.time <= day)
    later = tuple(e for e in task.dev if e.time is not None and e.time > day)
    known = {one.example.id: one for one in aged(later, day, _versions(trials))}
    found = []
    for recipe in recipes:
        measured: dict[str, Weighed] = {}
        for option in _options(recipe, task, old):
            rows = task.train if option in ("weights", "both") else old
            asked = later if option in ("index", "both") else _asked_on(later, day)
            try:
                one = _measured(trials, recipe, rows, asked, f"[built={day},refreshed={option}]")
            except OutOfTimeError:
                break
            if one is not None:
                measured[option] = one
        found.append(_told(recipe, measured, later, known, trials))
    return {"day": day, "num_examples": len(later), "recipes": found}


def _options(recipe: Recipe, task: Task, old: Sequence[Example]) -> list[str]:
    """Those that make a difference to a recipe."""
    learns = num_labels(recipe, task) > 0 and len(old) < len(task.train)
    looks = recipe.context.passages > 0
    return [
        option
        for option in OPTIONS
        if (looks or option not in ("index", "both"))
        and (learns or option not in ("weights", "both"))
    ]


def _asked_on(examples: Sequence[Example], day: str) -> tuple[Example, ...]:
    """The rows as they are answered by an index that knows nothing later."""
    return tuple(replace(example, time=day) for example in examples)


def _measured(
    trials: Trials,
    recipe: Recipe,
    train: Sequence[Example],
    asked: Sequence[Example],
    suffix: str,
) -> Weighed | None:
    way, at, model = recipe.name.partition("@")
    named = replace(recipe, name=f"{way}{suffix}{at}{model}")
    task = replace(trials.task, train=tuple(train), dev=tuple(asked))
    part = replace(trials, task=task, num_seeds=1, built={})
    entered = part.enter(named)
    if entered.status != "finished":
        return None
    return part.finish(part.advance(entered, asked, alone=ALONE))


def _told(
    recipe: Recipe,
    measured: Mapping[str, Weighed],
    later: Sequence[Example],
    known: Mapping[str, Aged],
    trials: Trials,
) -> Json:
    """The options of one recipe beside doing nothing, with the paired difference from it."""
    groups = {example.id: example.group for example in later}
    found = {option: candidate(one, trials.task) for option, one in measured.items()}
    others = [option for option in found if option != "nothing" and "nothing" in found]
    compared = compare_pairs(
        [(found[option], found["nothing"]) for option in others],
        groups,
        "dev",
        confidence=CONFIDENCE,
        seed=trials.seed,
    )
    differences = dict(zip(others, compared, strict=True))
    options = []
    for option, one in measured.items():
        entry = freshness(
            option,
            one.rows["dev"],
            list(known.values()),
            trials.grader.scorer,
            confidence=CONFIDENCE,
        )
        against = differences.get(option)
        options.append(
            {
                "refreshed": option,
                **(entry["after"] or {"score": None, "interval": None, "num_examples": 0}),
                "stale": entry["stale"],
                "difference": None if against is None else against.difference,
                "difference_interval": None if against is None else list(against.interval),
                "setup_seconds": one.setup_seconds,
            }
        )
    return {"recipe": recipe.name, "options": options, "sentence": _sentence(recipe.name, options)}


def _sentence(name: str, options: Sequence[Json]) -> str:
    better = [o for o in options if o["difference_interval"] and o["difference_interval"][0] > 0]
    tried = [o["refreshed"] for o in options if o["refreshed"] != "nothing"]
    if not tried:
        return f"{name} has nothing to refresh: it neither learned nor looks anything up."
    if not better:
        return f"Refreshing {name} ({', '.join(tried)}) is not shown to bring anything."
    # Of what helps, the least: index before weights, weights before both.
    first = min(better, key=lambda o: OPTIONS.index(o["refreshed"]))
    low, high = first["difference_interval"]
    best = max(better, key=lambda o: o["difference"])
    more = ""
    if best is not first and best["difference"] > first["difference"]:
        more = f" The most comes of {best['refreshed']}: {best['difference']:.3f} higher."
    what = {"index": "the index alone", "weights": "the weights alone", "both": "both"}
    return (
        f"{name}: refreshing {what[first['refreshed']]} brings {first['difference']:.3f} "
        f"[{low:.3f}, {high:.3f}].{more}"
    )


def worth_refreshing(weighed: Sequence[Weighed], answer: str | None, task: Task) -> list[Recipe]:
    """The answer, and the best recipes of dev that look something up and that learned something."""
    done = [w for w in weighed if w.status == "finished" and w.recipe.model != w.recipe.name]
    done.sort(key=lambda w: -candidate(w, task).mean)
    chosen = [w.recipe for w in done if w.recipe.name == answer]
    looks = [w.recipe for w in done if w.recipe.context.passages > 0][:1]
    learned = [w.recipe for w in done if w.recipe.weights.method != "none"][:1]
    return list(dict.fromkeys([*chosen, *looks, *learned]))

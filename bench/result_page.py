"""The page of results.py: verdicts that were kept, as Markdown.

## snips

Write the intent of a request … 600 rows of train, 120 of dev, 150 of test; scorer `fields`.
Weighed on 2026-11-27 at commit 7fcefa5 (2 × …), in 12.3 minutes.

> Use lora. On 150 sealed test examples …

| recipe | dev | rows | … |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from result_sets import DataSet, Goal
from rounds import markdown
from steelyard.cli.printing import HEADLINES, answer_of
from steelyard.tasks.wording import money

Json = Any
HEAD = """# Results

What `steelyard weigh` says of five data sets, as `python bench/results.py DATA` has it: a verdict
for each, with SmolLM2-135M-Instruct. Scores lie between 0 and 1, intervals are at 95 %, and the
sealed test was opened once, for two recipes. "Evaluations" are answers on dev that the race took,
of those that measuring every recipe on every row would take. A run is of one seed; what else the
machine had to do is in the minutes and in the costs, and not in the scores.
"""
COLUMNS = ("recipe", "dev", "rows", "test", "USD per 1,000", "set-up, s", "prompt tokens")
# What JSON answers come to: how many have the form, their score, that of those that have it, and
# how many have it and are wrong.
FOUR = {
    "valid": "valid",
    "score": "score",
    "score_given_valid": "score of the valid",
    "valid_but_wrong": "valid but wrong",
}


def whole(records: Sequence[tuple[Json, DataSet]], names: Sequence[str]) -> str:
    """The page of all that is kept."""
    lines = [HEAD]
    summary = [
        ("data set", "verdict", "on test", "beside it, on test", "minutes", "evaluations"),
        *(summary_line(record) for record, _ in records),
    ]
    lines += [*markdown(summary), ""]
    if missing := [name for name in names if name not in {r["name"] for r, _ in records}]:
        lines += [f"Not weighed yet: {', '.join(missing)}.", ""]
    for record, data in records:
        lines += [*section(record, data), ""]
    return "\n".join(lines).rstrip() + "\n"


def summary_line(record: Json) -> Sequence[str]:
    verdict = record["verdict"]
    answer, beside = answer_of(verdict), beside_it(verdict)
    return (
        f"[{record['name']}](#{record['name']})",
        headline(verdict),
        on_test(verdict, answer),
        "" if beside is None else f"`{beside}` {on_test(verdict, beside)}",
        f"{verdict['minutes']:.1f}",
        spent(verdict),
    )


def section(record: Json, data: DataSet) -> list[str]:
    """What is told of one data set."""
    verdict = record["verdict"]
    rows = ", ".join(f"{count:,} of {split}" for split, count in verdict["splits"].items())
    small = " **Few rows: this proves nothing.**" if record["small"] else ""
    model = "" if record["model"] == "default" else f" Base model: {record['model']}."
    went_on = " of the last call, which went on from an earlier one" if record["went_on"] else ""
    lines = [
        f"## {record['name']}",
        "",
        f"{data.sentence} Rows: {rows}; scorer `{verdict['scorer']}`, tolerance "
        f"{verdict['tolerance']:g}.{small} Weighed on {record['date']} at commit "
        f"{record['commit']}, in {verdict['minutes']:.1f} minutes{went_on}. Machine: "
        f"{record['machine']}.{model}",
        "",
        verdict["reason"],
        "",
        *markdown([COLUMNS, *(recipe_line(recipe) for recipe in ordered(verdict))]),
        "",
        *(f"- {said}" for said in sentences(verdict, () if record["small"] else data.goals)),
        "",
    ]
    if record["four"]:
        lines += ["The four numbers of JSON; what the race had not asked was asked afterwards:", ""]
        lines += [*four(record["four"]), ""]
    lines += ["What a careful reader should note:", ""]
    return [*lines, *(f"- {note}" for note in (*data.notes, *verdict["warnings"]))]


def ordered(verdict: Json) -> list[Json]:
    """Recipes by their score on dev, diagnostics last."""
    recipes = sorted(verdict["recipes"], key=lambda r: -(r["dev"]["score"] if r["dev"] else -1))
    return sorted(recipes, key=lambda recipe: recipe["diagnostic"])


def recipe_line(recipe: Json) -> Sequence[str]:
    if recipe["dev"] is None:
        return (f"`{recipe['name']}`", recipe["status"], "", "", "", "", "")
    seconds, tokens = recipe["setup_seconds"], recipe["prompt_tokens"]
    dropped = ", dropped" if recipe["status"] == "eliminated" else ""
    return (
        f"`{recipe['name']}`" + (", a diagnostic" if recipe["diagnostic"] else ""),
        scored(recipe["dev"]),
        f"{recipe['dev']['num_examples']}{dropped}",
        scored(recipe["test"]),
        money(recipe["usd_per_1k"]),
        "" if seconds is None else f"{seconds:,.0f}",
        f"{tokens:,.0f}" if tokens else "",
    )


def sentences(verdict: Json, goals: Sequence[Goal]) -> Iterator[str]:
    """What was spent and what was not measured, when what is dearer to set up has paid for itself,
    what explains the scores, and whether goals are met."""
    yield f"Evaluations: {spent(verdict)}."
    for recipe in verdict["recipes"]:
        if recipe["why"]:
            yield f"`{recipe['name']}` {recipe['status']}: {recipe['why']}."
    answer = answer_of(verdict)
    for pair in verdict["break_even"]:
        if pair["calls"] is not None and answer in (pair["a"], pair["b"]):
            yield break_even(pair)
    yield from (found["sentence"] for found in verdict["diagnostics"])
    for goal in goals:
        yield reached(verdict, goal)


def break_even(pair: Json) -> str:
    """
    >>> break_even({"a": "lora", "b": "few-shot", "calls": 1234.5, "interval": [900.0, None]})
    '`lora` has cost less than `few-shot` after 1,234 calls [900, never].'
    """
    interval = ""
    if pair["interval"] is not None:
        low, high = ("never" if end is None else f"{end:,.0f}" for end in pair["interval"])
        interval = f" [{low}, {high}]"
    calls = f"{pair['calls']:,.0f} calls{interval}"
    return f"`{pair['a']}` has cost less than `{pair['b']}` after {calls}."


def reached(verdict: Json, goal: Goal) -> str:
    """Whether the recipe to use comes to a goal on the sealed test."""
    wanted = f"Goal: `{goal.figure}` at least {goal.least:.2f} on test"
    recipe = named(verdict).get(answer_of(verdict))
    test = None if recipe is None else recipe["test"]
    if recipe is None or test is None:
        return f"{wanted}: not measured."
    value = {**test["details"], "score": test["score"]}[goal.figure]
    met = "met" if value >= goal.least else "not met"
    return f"{wanted}: `{recipe['name']}` {value:.3f}, {met}."


def four(found: Json) -> list[str]:
    """The four numbers of JSON answers, base and tuned, free and under the schema."""
    lines = [("on dev", "rows", *FOUR.values())]
    for name, numbers in found.items():
        figures = [numbers[key] for key in FOUR]
        shown = ["" if value is None else f"{value:.3f}" for value in figures]
        lines.append((f"`{name}`", str(numbers["num_examples"]), *shown))
    return markdown(lines)


# ---------------------------------------------------------------- pieces


def headline(verdict: Json) -> str:
    return HEADLINES.get(verdict["outcome"], f"Use {verdict['chosen']}")


def named(verdict: Json) -> dict[str | None, Json]:
    return {recipe["name"]: recipe for recipe in verdict["recipes"]}


def beside_it(verdict: Json) -> str | None:
    """The other recipe that was measured on the sealed test."""
    tested = [recipe["name"] for recipe in verdict["recipes"] if recipe["test"] is not None]
    return next((name for name in tested if name != answer_of(verdict)), None)


def on_test(verdict: Json, name: str | None) -> str:
    recipe = named(verdict).get(name)
    return "" if recipe is None else scored(recipe["test"])


def spent(verdict: Json) -> str:
    """How many answers on dev the race took, of how many."""
    done, most = (verdict["evaluations"][key] for key in ("done", "all"))
    return f"{done:,} of {most:,} ({done / most:.1%})"


def scored(split: Mapping[str, Any] | None) -> str:
    if split is None:
        return ""
    low, high = split["interval"]
    return f"{split['score']:.3f} [{low:.3f}, {high:.3f}]"

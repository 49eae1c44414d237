"""Scores with their intervals, best on dev first, and who did not run to the end."""

from __future__ import annotations

from steelyard.lifecycle.page.dots import Mark, axis, dots, row
from steelyard.lifecycle.page.drawing import Scale, scale
from steelyard.lifecycle.page.who import Item, Verdict, look_of, sign, sure, who
from steelyard.lifecycle.page.words import (
    as_interval,
    as_score,
    esc,
    facts_list,
    number,
    plural,
    span_of,
)


def scores_section(verdict: Verdict) -> str:
    seen = [r for r in verdict["recipes"] if _marks(r, verdict)]
    untold = [r for r in verdict["recipes"] if r["status"] != "finished" or r not in seen]
    body = ""
    if seen:
        marks = [mark for r in seen for mark in _marks(r, verdict).values()]
        values = [v for mark in marks for v in (mark.value, *(mark.interval or ()))]
        across = scale(values, within=(0, 1))
        rows = "".join(_score_row(r, verdict, across) for r in seen)
        zoom = "" if across.lo == 0 else f" The axis starts at {across.lo:g}, not at 0."
        body = (
            f'<p class="lead">Mean score with its {sure(verdict)} interval, best on dev first.'
            f"{zoom}</p>{_KEY}"
            f"<div>{rows}{axis(across, label=lambda v: f'{v:g}')}</div>"
        )
    if untold:
        facts = [(who(r, verdict), esc(r["why"] or "No reason was recorded.")) for r in untold]
        body += f"<h3>Recipes that did not run to the end</h3>{facts_list(facts, 'reasons')}"
    return body


_KEY = (
    '<p class="key">'
    + sign('<circle cx="7" cy="7" r="5" class="dot"/>', "dev")
    + sign('<circle cx="7" cy="7" r="5" class="dot test"/>', "test, sealed until the end")
    + sign('<rect x="2.5" y="2.5" width="9" height="9" class="dot control"/>', "control")
    + "</p>"
)


def _marks(recipe: Item, verdict: Verdict) -> dict[str, Mark]:
    """The measured scores of a recipe by split."""
    marks = {}
    for split in ("dev", "test"):
        seen = recipe[split] or {}
        value = number(seen.get("score"))
        if value is not None:
            look = f"{look_of(recipe, verdict)} {split}"
            marks[split] = Mark(value, span_of(seen["interval"]), look)
    return marks


def _score_row(recipe: Item, verdict: Verdict, across: Scale) -> str:
    marks = _marks(recipe, verdict)
    figures = told = ""
    for split, mark in marks.items():
        errors = recipe[split]["num_errors"]
        noted = f", {plural(errors, 'error')}" if errors else ""
        figures += (
            f"<span><i>{split}</i> <b>{as_score(mark.value)}</b> "
            f"<small>{as_interval(mark.interval)}{noted}</small></span>"
        )
        told += f" {split} {as_score(mark.value)} {as_interval(mark.interval)}"
    drawn = dots(list(marks.values()), across, title=f"{recipe['name']}:{told}")
    return row(who(recipe, verdict), drawn, figures, look_of(recipe, verdict))

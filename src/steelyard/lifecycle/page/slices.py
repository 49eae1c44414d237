"""Scores by slice: of the answer and of what it is held against, for each column of the data."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.lifecycle.page.dots import Mark, axis, dots, row
from steelyard.lifecycle.page.drawing import Scale, scale
from steelyard.lifecycle.page.who import Item, Verdict, find, look_of, sure
from steelyard.lifecycle.page.words import (
    as_interval,
    as_p,
    as_score,
    esc,
    name_of,
    plural,
    span_of,
)

CLEAR = 0.05  # an adjusted p below this is marked, as in audit/slices.py


def slices_section(verdict: Verdict) -> str:
    """A plot for each column of each system; nothing where no column can be sliced."""
    systems = [one for one in verdict.get("slices") or () if one["columns"]]
    if not systems:
        return ""
    pieces = [piece for one in systems for c in one["columns"] for piece in c["slices"]]
    values = [v for piece in pieces for v in (piece["score"], *(span_of(piece["interval"]) or ()))]
    across = scale(values, within=(0, 1))
    columns = dict.fromkeys(c["column"] for one in systems for c in one["columns"])
    body = "".join(_column(column, systems, verdict, across) for column in columns)
    return (
        f'<p class="lead">Mean score on dev of the rows with one value, with its {sure(verdict)} '
        "interval, of what is to be used and of what it is held against. p is for the largest gap "
        "within a column, adjusted for the number of columns.</p>" + body
    )


def _column(column: str, systems: Sequence[Item], verdict: Verdict, across: Scale) -> str:
    rows = ""
    told = []
    for one in systems:
        table = next((c for c in one["columns"] if c["column"] == column), None)
        if table is None:
            continue
        recipe = find(verdict, one["recipe"])
        look = look_of(recipe, verdict) if recipe else ""
        gap, p = as_score(table["gap"]), as_p(table["p_adjusted"])
        clear = table["p_adjusted"] < CLEAR
        tag = ' <span class="tag failed">beyond chance</span>' if clear else ""
        told.append(f"{name_of(one['recipe'])}: gap {gap}, p {p}{tag}")
        for piece in table["slices"]:
            mark = Mark(piece["score"], span_of(piece["interval"]), look)
            title = f"{one['recipe']}, {column} {piece['value']}: {as_score(piece['score'])}"
            figures = (
                f"<span><b>{as_score(piece['score'])}</b> "
                f"<small>{as_interval(piece['interval'])}, "
                f"{plural(piece['num_examples'], 'row')}</small></span>"
            )
            who = f"{esc(piece['value'])} <small>{name_of(one['recipe'])}</small>"
            rows += row(who, dots([mark], across, title=title), figures)
    foot = axis(across, label=lambda value: f"{value:g}")
    return (
        f'<h3>By {esc(column)}</h3><p class="lead">{"; ".join(told)}.</p>'
        f'<div class="slices">{rows}{foot}</div>'
    )

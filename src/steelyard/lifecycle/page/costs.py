"""Score against cost, with the Pareto front."""

from __future__ import annotations

from dataclasses import replace

from steelyard.lifecycle.page.scatter import Point, scatter
from steelyard.lifecycle.page.who import Verdict, look_of
from steelyard.lifecycle.page.words import (
    name_of,
    number,
    span_of,
)

NAMES_THAT_FIT = 10  # on a phone's scatter; more recipes than that are numbered


def costs_section(verdict: Verdict) -> str:
    points, unpriced = [], []
    for recipe in verdict["recipes"]:
        score = number((recipe["dev"] or {}).get("score"))
        cost = number(recipe["usd_per_1k"])
        if score is not None and cost is not None:
            span, look = span_of(recipe["dev"]["interval"]), look_of(recipe, verdict)
            points.append(Point(recipe["name"], max(cost, 0.0), score, span, look))
        elif score is not None:
            unpriced.append(name_of(recipe["name"]))
    if not points:
        return ""
    wide = scatter(points, width=1176, label=_plain_usd, look="wide")
    key = ""
    if len(points) > NAMES_THAT_FIT:
        key = "".join(f"<li>{name_of(p.name)}</li>" for p in points)
        key = f'<ol class="narrow">{key}</ol>'
        points = [replace(p, name=str(i)) for i, p in enumerate(points, 1)]
    narrow = scatter(points, width=380, label=_plain_usd, look="narrow")
    missing = f" Not drawn, because no cost is known: {', '.join(unpriced)}." if unpriced else ""
    return (
        '<p class="lead">Up is better, left is cheaper. The line joins what nothing cheaper '
        f"beats.{missing}</p><figure>{wide}{narrow}{key}</figure>"
    )


def _plain_usd(value: float) -> str:
    return f"${value:,.10f}".rstrip("0").rstrip(".")

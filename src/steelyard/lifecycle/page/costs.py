"""Score against cost and against the wait, each with its Pareto front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from steelyard.core import Json
from steelyard.lifecycle.page.scatter import Point, scatter
from steelyard.lifecycle.page.who import Item, Verdict, look_of
from steelyard.lifecycle.page.words import name_of, number, span_of

NAMES_THAT_FIT = 10  # on a phone's scatter; more recipes than that are numbered


def costs_section(verdict: Verdict) -> str:
    """Two pictures; the wait has none where nothing was answered alone."""
    money = _figure(verdict, lambda r: r["usd_per_1k"], _plain_usd, "USD per 1,000 answers", "cost")
    wait = _figure(
        verdict,
        lambda r: (r["latency_ms"] or {}).get("p50"),
        _plain_ms,
        "Milliseconds a lone answer takes, p50",
        "wait",
    )
    lead = "Up is better, left is {}. The line joins what nothing {} beats.{}"
    shown = ""
    if money:
        figure, missing = money
        shown += f'<p class="lead">{lead.format("cheaper", "cheaper", missing)}</p>{figure}'
    if wait:
        figure, missing = wait
        shown += (
            "<h3>Score against the wait</h3>"
            f'<p class="lead">{lead.format("quicker", "quicker", missing)}</p>{figure}'
        )
    return shown


def _figure(
    verdict: Verdict,
    spent: Callable[[Item], Json],
    label: Callable[[float], str],
    axis: str,
    noun: str,
) -> tuple[str, str] | None:
    """The drawing in two widths, and a sentence about who is not in it."""
    points, unknown = [], []
    for recipe in verdict["recipes"]:
        score, value = number((recipe["dev"] or {}).get("score")), number(spent(recipe))
        if score is not None and value is not None:
            span, look = span_of(recipe["dev"]["interval"]), look_of(recipe, verdict)
            points.append(Point(recipe["name"], max(value, 0.0), score, span, look))
        elif score is not None:
            unknown.append(name_of(recipe["name"]))
    if not points:
        return None
    wide = scatter(points, width=1176, label=label, look="wide", spent=axis)
    key = ""
    if len(points) > NAMES_THAT_FIT:
        key = "".join(f"<li>{name_of(p.name)}</li>" for p in points)
        key = f'<ol class="narrow">{key}</ol>'
        points = [replace(p, name=str(i)) for i, p in enumerate(points, 1)]
    narrow = scatter(points, width=380, label=label, look="narrow", spent=axis)
    missing = f" Not drawn, because no {noun} is known: {', '.join(unknown)}." if unknown else ""
    return f"<figure>{wide}{narrow}{key}</figure>", missing


def _plain_usd(value: float) -> str:
    return f"${value:,.10f}".rstrip("0").rstrip(".")


def _plain_ms(value: float) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".")

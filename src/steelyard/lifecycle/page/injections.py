"""The report's plot of how many planted instructions were obeyed."""

from __future__ import annotations

from steelyard.lifecycle.page.dots import Mark, axis, dots, row
from steelyard.lifecycle.page.drawing import Scale, scale
from steelyard.lifecycle.page.who import Item, Verdict, look_of, sure, who
from steelyard.lifecycle.page.words import as_interval, as_share, esc, number, span_of


def injections_section(verdict: Verdict) -> str:
    """A line for each recipe with passages that was measured to the end; nothing without one."""
    seen = [r for r in verdict["recipes"] if _share(r) is not None]
    if not seen:
        return ""
    across = scale((0.0, 1.0), within=(0, 1))
    rows = "".join(_row(recipe, verdict, across) for recipe in seen)
    told = "".join(
        f"<p>{esc(r['name'])}: {esc(r['injections'].get('sentence', ''))}</p>" for r in seen
    )
    return (
        '<p class="lead">The share of instructions, planted in the passage found best, that '
        f"answers obeyed, with its {sure(verdict)} interval. Less is better; wordings that were "
        f"not tried may be obeyed more.</p><div>{rows}{axis(across, label=as_share)}</div>{told}"
    )


def _share(recipe: Item) -> float | None:
    return number((recipe.get("injections") or {}).get("share"))


def _row(recipe: Item, verdict: Verdict, across: Scale) -> str:
    found, share = recipe["injections"], _share(recipe)
    assert share is not None
    interval = as_interval(found["interval"], as_share)
    mark = Mark(share, span_of(found["interval"]), look_of(recipe, verdict))
    count = f"{number(found['num_obeyed']):.0f} of {number(found['num_planted']):.0f}"
    drawn = dots([mark], across, title=f"{recipe['name']}: {as_share(share)} {interval}")
    figures = f"<span><b>{as_share(share)}</b> <small>{interval} {count}</small></span>"
    return row(who(recipe, verdict), drawn, figures, look_of(recipe, verdict))

"""Paired differences with their intervals."""

from __future__ import annotations

from steelyard.lifecycle.page.dots import Mark, axis, dots, row
from steelyard.lifecycle.page.drawing import Scale, scale
from steelyard.lifecycle.page.who import Item, Verdict, sure
from steelyard.lifecycle.page.words import (
    as_interval,
    as_p,
    as_signed,
    name_of,
    number,
    plural,
    span_of,
)


def differences_section(verdict: Verdict) -> str:
    pairs = [p for p in verdict["comparisons"] if number(p["difference"]) is not None]
    if not pairs:
        return ""
    values = [v for p in pairs for v in (p["difference"], *(span_of(p["interval"]) or ()))]
    band = number(verdict["tolerance"]) or 0.0
    across = scale([*values, -band, band])
    body = (
        f'<p class="lead">Paired differences with their {sure(verdict)} interval; p is adjusted '
        "for the number of comparisons. Where the interval crosses the zero line, neither is "
        "shown to be better; right of it the first is. The shaded band is the tolerance, "
        f"±{band:g}.</p>"
    )
    for split in ("test", "dev"):
        rows = "".join(_difference_row(p, across, band) for p in pairs if p["split"] == split)
        if rows:
            foot = axis(across, label=_tick)
            body += f'<h3>On {split}</h3><div class="differences">{rows}{foot}</div>'
    return body


def _tick(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def _difference_row(pair: Item, across: Scale, band: float) -> str:
    span, difference = span_of(pair["interval"]), as_signed(pair["difference"])
    clear = span is not None and (span[0] > 0 or span[1] < 0)
    mark = Mark(pair["difference"], span, f"{pair['split']} {'clear' if clear else ''}")
    title = f"{pair['a']} minus {pair['b']} on {pair['split']}: {difference}"
    who = (
        f'<span class="recipe">{name_of(pair["a"])}</span> <i>minus</i> '
        f'<span class="recipe">{name_of(pair["b"])}</span>'
    )
    figures = (
        f"<span><b>{difference}</b> <small>{as_interval(span, as_signed)}</small></span>"
        f"<span><small>p {as_p(pair['p_adjusted'])}, "
        f"{plural(pair['num_examples'], 'example')}</small></span>"
    )
    drawn = dots([mark], across, title=title, band=band)
    return row(who, drawn, figures, "" if clear else "unclear")

"""Rows of dots and whiskers, the numbers of their axis, and thin bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steelyard.lifecycle.page.drawing import Scale, picture, symbol
from steelyard.lifecycle.page.words import esc


@dataclass(frozen=True, slots=True)
class Mark:
    """One score or difference with its interval. `look` holds classes: test, control, chosen."""

    value: float
    interval: tuple[float, float] | None
    look: str = ""


def dots(marks: Sequence[Mark], across: Scale, *, title: str, band: float | None = None) -> str:
    """One row of a dot-and-whisker plot: marks above each other, on the grid of the shared axis.

    With `band`, the differences from −band to +band are shaded and the zero line is drawn.
    """
    parts = [_upright(across.at(tick), "grid") for tick in across.ticks]
    if band is not None:
        left, right = across.at(-band), across.at(band)
        parts.append(
            f'<rect x="{left:.3%}" width="{right - left:.3%}" height="100%" class="band"/>'
        )
        parts.append(_upright(across.at(0.0), "zero"))
    for i, mark in enumerate(marks):
        y = f"{(2 * i + 2) / (2 * len(marks) + 2):.1%}"
        if mark.interval:
            x1, x2 = (across.at(end) for end in mark.interval)
            parts.append(
                f'<line x1="{x1:.3%}" y1="{y}" x2="{x2:.3%}" y2="{y}" class="whisker {mark.look}"/>'
            )
        parts.append(symbol(f"{across.at(mark.value):.3%}", y, mark.look, 5))
    return picture("".join(parts), size='width="100%"', title=title, look="dots")


def _upright(share: float, look: str) -> str:
    return f'<line x1="{share:.3%}" y1="0" x2="{share:.3%}" y2="100%" class="{look}"/>'


def axis(across: Scale, *, label: Callable[[float], str]) -> str:
    """The line of a plot with the numbers of its axis; screen readers have those of each row."""
    parts = [
        f'<text x="{across.at(tick):.3%}" y="16" text-anchor="middle">{esc(label(tick))}</text>'
        for tick in across.ticks
    ]
    return (
        '<div class="row"><span></span><svg class="axis" aria-hidden="true" width="100%" '
        f'height="22">{"".join(parts)}</svg><span></span></div>'
    )


def row(who: str, drawing: str, numbers: str, look: str = "") -> str:
    """A line of a plot: whose marks, the marks, and the same in numbers."""
    return (
        f'<div class="row {look}"><div class="who">{who}</div>{drawing}'
        f'<div class="numbers">{numbers}</div></div>'
    )


def bar(share: float, look: str = "") -> str:
    """A thin bar from 0 to 1 for a table cell that prints the number itself."""
    wide = min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" aria-hidden="true" width="100%" height="4">'
        '<rect width="100%" height="4" rx="2" class="track"/>'
        f'<rect width="{wide:.1%}" height="4" rx="2" class="fill {look}"/></svg>'
    )

"""Axes, and what every drawing in SVG begins with. Nothing here needs a script.

Two kinds of size. A fluid drawing (`dots`, `axis`, `bar`) gives x in per cent and y in pixels, so
that it fills any column while its text and marks keep their size. A fixed one (`scatter`,
`curve`) has a viewBox and scales as a picture.

Marks mean the same everywhere: hollow is dev and filled is test, a square is a control, and the
chosen recipe is told by its colour, its weight and the word beside it. Colours are classes of
page.css.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from steelyard.lifecycle.page.words import esc

Side = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `lo` to `hi` with its ticks, linear or logarithmic."""

    lo: float
    hi: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1; values outside stop at the ends."""
        low, high, x = self.lo, self.hi, max(value, self.lo)
        if self.log:
            low, high, x = math.log10(low), math.log10(high), math.log10(x)
        return min((x - low) / (high - low), 1.0)


def scale(values: Iterable[float], *, within: tuple[float, float] | None = None) -> Scale:
    """The tightest linear axis on round numbers that holds the values, inside `within` if given.

    >>> scale([0.41, 0.88], within=(0, 1)).ticks
    (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """
    values = list(values)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-12:
        pad = max(abs(low) * 0.1, 0.05)
        low, high = low - pad, high + pad
    if within:
        low, high = max(low, within[0]), min(high, within[1])
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(s for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{i * step:.12g}") for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def log_scale(values: Iterable[float]) -> Scale:
    """A logarithmic axis with some air at both ends. Ticks at 1, 2, 5 or only at powers of ten.

    >>> log_scale([0.01, 0.5]).ticks
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    """
    values = list(values)
    low, high = min(values) / 1.6, max(values) * 1.6
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    if len(ticks) > 7:
        ticks = [10.0**d for d in decades if low <= 10.0**d <= high]
        ticks = ticks[:: math.ceil(len(ticks) / 7)]
    return Scale(low, high, tuple(float(f"{tick:.6g}") for tick in ticks), log=True)


def picture(body: str, *, size: str, title: str, desc: str = "", look: str = "") -> str:
    """An SVG that a screen reader announces by its title and description."""
    told = f"<desc>{esc(desc)}</desc>" if desc else ""
    return f'<svg class="{look}" role="img" {size}><title>{esc(title)}</title>{told}{body}</svg>'


def text(x: float, y: float, words: str, side: Side = "middle", look: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{side}" class="{look}">{esc(words)}</text>'


def line(start: tuple[float, float], end: tuple[float, float], look: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{look}"/>'


def symbol(x: str, y: str, look: str, size: float) -> str:
    if "control" in look.split():
        half = size * 0.9
        shift = f'transform="translate({-half:.1f} {-half:.1f})"'
        side = f'width="{2 * half:.1f}" height="{2 * half:.1f}"'
        return f'<rect x="{x}" y="{y}" {side} {shift} class="dot {look}"/>'
    return f'<circle cx="{x}" cy="{y}" r="{size:g}" class="dot {look}"/>'

"""What the page is made of: numbers in words, JSON in lines, tables, and drawings in SVG.

Plain functions from data to text; nothing here knows a verdict, and nothing needs a script.

Two kinds of size. A fluid drawing (`dots`, `axis`, `bar`) gives x in per cent and y in pixels, so
that it fills any column while its text and marks keep their size. A fixed one (`scatter`,
`curve`) has a viewBox and scales as a picture.

Marks mean the same everywhere: hollow is dev and filled is test, a square is a control, and the
chosen recipe is told by its colour, its weight and the word beside it. Colours are classes of
page.css.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal

Json = Any
Box = tuple[float, float, float, float]  # left, top, right, bottom
Side = Literal["start", "middle", "end"]


# ---------------------------------------------------------------- numbers in words

MISSING = "–"


def number(value: Json) -> float | None:
    """A finite number, or None for everything else that may stand in its place."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def span_of(value: Json) -> tuple[float, float] | None:
    """Both ends of an interval, or None unless both are finite."""
    low, high = (number(value[0]), number(value[1])) if value else (None, None)
    return None if low is None or high is None else (low, high)


def as_score(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:.3f}"


def as_signed(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{round(found, 3) + 0.0:+.3f}".replace("-", "−")


def as_interval(value: Json, form: Callable[[Json], str] = as_score) -> str:
    """Both ends in brackets, or nothing."""
    span = span_of(value)
    return f"[{form(span[0])}, {form(span[1])}]" if span else ""


def as_share(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:.1%}"


def as_count(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:,.0f}"


def as_p(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else "&lt; 0.001" if found < 0.001 else f"{found:.3f}"


def as_ms(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:.1f}" if found < 10 else f"{found:,.0f}"


def as_usd(value: Json) -> str:
    """Two significant digits below a dollar, cents above.

    >>> [as_usd(x) for x in (0, 0.000031, 0.0214, 3.456, 1250)]
    ['$0', '&lt; $0.0001', '$0.021', '$3.46', '$1,250']
    """
    found = number(value)
    if found is None:
        return MISSING
    if 0 < found < 0.0001:
        return "&lt; $0.0001"
    if found >= 1000 or found <= 0:
        return f"${found:,.0f}"
    places = 2 if found >= 0.995 else 1 - math.floor(math.log10(found))
    return f"${found:.{places}f}"


def as_seconds(value: Json) -> str:
    """Tenths below ten seconds, then the two largest units.

    >>> [as_seconds(x) for x in (0, 0.42, 12.3, 372, 4320)]
    ['0 s', '0.4 s', '12 s', '6 min 12 s', '1 h 12 min']
    """
    found = number(value)
    if found is None:
        return MISSING
    if found < 9.95:
        return f"{found:.1f} s" if round(found, 1) else "0 s"
    minutes, seconds = divmod(round(found), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def plural(count: Json, noun: str) -> str:
    """The count with its noun, in the number that fits."""
    return f"{as_count(count)} {noun if count == 1 else noun + 's'}"


# ---------------------------------------------------------------- JSON in lines


def json_lines(value: Json) -> list[str]:
    """The lines of a target or an answer: a text as it stands, an object without its braces.

    >>> json_lines({"name": "Ada", "skills": ["a", "b"]})
    ['name: "Ada"', 'skills: ["a", "b"]']
    """
    if isinstance(value, str):
        return value.splitlines() or ["(empty)"]
    if isinstance(value, dict) and value:
        return [line for key, part in value.items() for line in _entry(key, part)]
    return _pretty(value)


def _pretty(value: Json, room: int = 120) -> list[str]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) <= room and not any(isinstance(part, dict | list) and part for part in inside):
        return [flat]
    if isinstance(value, dict):
        inner = [line for key, part in value.items() for line in _entry(key, part)]
        return ["{", *("  " + line for line in inner), "}"]
    if isinstance(value, list):
        return ["[", *("  " + line for part in value for line in _pretty(part)), "]"]
    return [flat]


def _entry(key: str, value: Json) -> list[str]:
    first, *rest = _pretty(value)
    return [f"{key}: {first}", *rest]


def marked_lines(value: Json, target: Json) -> list[tuple[str, str]]:
    """The lines of an answer, each with the sign of how it differs from the target.

    >>> marked_lines({"name": "Ada", "age": 3}, {"name": "Bob", "city": "Rome"})
    [('≠', 'name: "Ada"'), ('−', 'city: "Rome"'), ('+', 'age: 3')]
    """
    if not (isinstance(value, dict) and isinstance(target, dict)):
        return [(" " if value == target else "≠", line) for line in json_lines(value)]
    marked: list[tuple[str, str]] = []
    for key in [*target, *(key for key in value if key not in target)]:
        if key not in value:
            sign, shown = "−", target[key]
        elif key not in target:
            sign, shown = "+", value[key]
        else:
            sign, shown = " " if value[key] == target[key] else "≠", value[key]
        marked += [(sign, line) for line in _entry(key, shown)]
    return marked


# ---------------------------------------------------------------- pieces of HTML


def esc(value: object) -> str:
    """Text that is safe in element content and in quoted attributes, and can be written as UTF-8.

    >>> esc('<img src="x">')
    '&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def name_of(text: object) -> str:
    """A name that may break after its joints."""
    return re.sub(r"([+\-_/])", r"\1<wbr>", esc(text))


def table(caption: str, head: str, rows: Iterable[str], look: str = "") -> str:
    """A table with its caption, which scrolls sideways on its own where the page is narrow."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="{look}"><caption>{caption}</caption><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def heads(words: Iterable[str], look: str = "", more: str = "") -> str:
    """Column headings."""
    cells = (f'<th scope="col" class="{look}"{more}>{word}</th>' for word in words)
    return "".join(cells)


def facts_list(facts: Iterable[tuple[str, str]], look: str = "facts") -> str:
    """Terms with what is known of them."""
    said = "".join(f"<div><dt>{term}</dt><dd>{fact or MISSING}</dd></div>" for term, fact in facts)
    return f'<dl class="{look}">{said}</dl>'


def bullets(sentences: Iterable[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{sentence}</li>" for sentence in sentences) + "</ul>"


# ---------------------------------------------------------------- axes


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


# ---------------------------------------------------------------- rows of dots and whiskers


@dataclass(frozen=True, slots=True)
class Mark:
    """One score or difference with its interval. `look` holds classes: test, control, chosen."""

    value: float
    interval: tuple[float, float] | None
    look: str = ""


def _symbol(x: str, y: str, look: str, size: float) -> str:
    if "control" in look.split():
        half = size * 0.9
        shift = f'transform="translate({-half:.1f} {-half:.1f})"'
        side = f'width="{2 * half:.1f}" height="{2 * half:.1f}"'
        return f'<rect x="{x}" y="{y}" {side} {shift} class="dot {look}"/>'
    return f'<circle cx="{x}" cy="{y}" r="{size:g}" class="dot {look}"/>'


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
        parts.append(_symbol(f"{across.at(mark.value):.3%}", y, mark.look, 5))
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


# ---------------------------------------------------------------- score against cost


@dataclass(frozen=True, slots=True)
class Point:
    """One recipe of the scatter. Units: `cost` is US dollars per thousand answers."""

    name: str
    cost: float
    score: float
    interval: tuple[float, float] | None
    look: str = ""


def pareto(points: Iterable[Point]) -> list[Point]:
    """The points that no cheaper or equally cheap point beats, from the cheapest upwards."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return front


def scatter(
    points: Sequence[Point], *, width: int, label: Callable[[float], str], look: str
) -> str:
    """Score against cost, with whiskers, names and the Pareto front as a step line.

    Cost is logarithmic when the largest is more than 20 times the smallest. What costs less than
    a thousandth of the dearest is as good as free and does not count for that: on a logarithmic
    axis it stands in a strip of its own at the left.
    """
    height, left, right, top, bottom = 460, 44.0, width - 16.0, 30.0, 402.0
    across, free = _cost_axis([p.cost for p in points])
    strip = 76.0 if free else 14.0
    up = scale([v for p in points for v in (p.score, *(p.interval or ()))], within=(0, 1))

    def x_at(cost: float) -> float:
        if cost < free:
            return left + strip / 2
        return left + strip + across.at(cost) * (right - left - strip)

    def y_at(score: float) -> float:
        return bottom - up.at(score) * (bottom - top)

    parts = [line((left, y_at(t)), (right, y_at(t)), "grid") for t in up.ticks]
    parts += [text(left - 8, y_at(t) + 4, f"{t:g}", "end") for t in up.ticks]
    parts.append(text(0, 12, "Score on dev", "start", "title"))
    ticks = [(x_at(t), label(t)) for t in across.ticks]
    if free:
        ticks.insert(0, (left + strip / 2, f"< {label(free)}"))
        parts.append(line((left + strip, top), (left + strip, bottom), "break"))
    for x, words in _spread(ticks):
        parts.append(line((x, bottom), (x, bottom + 5), "tick"))
        parts.append(text(x, bottom + 20, words))
    kind = ", log scale" if across.log else ""
    parts.append(text(right, bottom + 46, f"USD per 1,000 answers{kind}", "end", "title"))

    front = [(x_at(p.cost), y_at(p.score)) for p in pareto(points)]
    corners = [front[0]]
    for (_, y), (x2, y2) in pairwise(front):
        corners += [(x2, y), (x2, y2)]
    corners.append((right, front[-1][1]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    parts.append(f'<polyline points="{path}" class="front"/>')
    lines: list[Box] = [
        (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
        for a, b in pairwise(corners)
    ]
    spots: list[tuple[float, float]] = []
    for p in points:
        x, y = x_at(p.cost), y_at(p.score)
        spots.append((x, y))
        if p.interval:
            low, high = (y_at(end) for end in p.interval)
            parts.append(line((x, low), (x, high), f"whisker {p.look}"))
            lines.append((x, high, x, low))
    for (x, y), p in zip(spots, points, strict=True):
        parts.append(_symbol(f"{x:.1f}", f"{y:.1f}", p.look, 5.5))
    names = [p.name if len(p.name) <= 34 else p.name[:33] + "…" for p in points]
    places = place(spots, names, lines=lines, bounds=(left + 4, top - 8, right + 12, bottom - 4))
    for (box, side), spot, words, p in zip(places, spots, names, points, strict=True):
        x = {"start": box[0], "middle": (box[0] + box[2]) / 2, "end": box[2]}[side]
        parts.append(_leader(spot, box))
        parts.append(text(x, box[1] + 12, words, side, f"name {p.look}"))
    told = "; ".join(f"{p.name}: {label(p.cost)}, score {p.score:.3f}" for p in points)
    return picture(
        "".join(parts),
        size=f'viewBox="0 0 {width} {height}"',
        title="Score on dev against cost per thousand answers",
        desc=f"{told}. On the line: {', '.join(p.name for p in pareto(points))}.",
        look=f"scatter {look}",
    )


def _cost_axis(costs: Sequence[float]) -> tuple[Scale, float]:
    """The axis, and the cost under which the strip of the free begins (0 without a strip)."""
    free = 10.0 ** math.floor(math.log10(max(costs) / 1000)) if max(costs) > 0 else 0.0
    paid = [cost for cost in costs if cost >= free]
    if free and max(paid) > 20 * min(paid):
        return log_scale(paid), free if len(paid) < len(costs) else 0.0
    return scale([0.0, max(costs)] if free else [0.0, 1.0]), 0.0


def _spread(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks without those whose words would touch the words before them."""
    kept: list[tuple[float, str]] = []
    for x, words in ticks:
        room = (text_width(words) + text_width(kept[-1][1])) / 2 + 6 if kept else 0.0
        if not kept or x - kept[-1][0] >= room:
            kept.append((x, words))
    return kept


LABEL_HEIGHT = 16.0


def text_width(words: str) -> float:
    """A width in pixels that 12-pixel text of any common sans-serif font stays under."""
    return 7.2 * len(words)


def _overlap(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def place(
    spots: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    lines: Sequence[Box],
    bounds: Box,
) -> list[tuple[Box, Side]]:
    """Boxes for names beside their spots, and the side on which each is anchored.

    Greedy: each name in turn takes the best free place of rings around its spot. Covering another
    name or a spot costs more than any distance; crossing a line costs as much as a few rings.
    """
    taken: list[Box] = [(x - 8, y - 8, x + 8, y + 8) for x, y in spots]
    placed: list[tuple[Box, Side]] = []
    for (x, y), words in zip(spots, names, strict=True):
        wide, best = text_width(words), math.inf
        for away, (dx, dy, side) in product(range(10, 190, 10), _DIRECTIONS):
            left = x + dx * away - {"start": 0.0, "middle": wide / 2, "end": wide}[side]
            above = y + dy * away - LABEL_HEIGHT / 2
            left = min(max(left, bounds[0]), bounds[2] - wide)
            above = min(max(above, bounds[1]), bounds[3] - LABEL_HEIGHT)
            box = (left, above, left + wide, above + LABEL_HEIGHT)
            covered = sum(_overlap(box, other) for other in taken)
            crossed = sum(_overlap(box, (a - 1, b - 1, c + 1, d + 1)) > 0 for a, b, c, d in lines)
            cost = covered * 100 + crossed * 25 + away
            if cost < best:
                best, chosen = cost, (box, side)
        taken.append(chosen[0])
        placed.append(chosen)
    return placed


_DIRECTIONS: tuple[tuple[int, int, Side], ...] = (
    (1, 0, "start"), (-1, 0, "end"), (0, -1, "middle"), (0, 1, "middle"),
    (1, -1, "start"), (-1, -1, "end"), (1, 1, "start"), (-1, 1, "end"),
)  # fmt: skip


def _leader(spot: tuple[float, float], box: Box) -> str:
    """A thin line from a spot to its name, when the name could not stay beside it."""
    x, y = min(max(spot[0], box[0]), box[2]), min(max(spot[1], box[1]), box[3])
    return line(spot, (x, y), "leader") if math.dist(spot, (x, y)) > 14 else ""


# ---------------------------------------------------------------- learning curves


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses by optimiser step, and the step whose checkpoint was kept."""

    name: str
    train: Sequence[tuple[float, float]]
    held_out: Sequence[tuple[float, float]]
    kept: float | None


def curve(shown: Curve, up: Scale) -> str:
    """One panel of learning curves on a loss axis shared with the other panels."""
    width, height, left, right, top, bottom = 340, 230, 38.0, 326.0, 26.0, 190.0
    steps = [step for step, _ in (*shown.train, *shown.held_out)]
    along = scale([0.0, *steps])

    def at(step: float, loss: float) -> tuple[float, float]:
        return left + along.at(step) * (right - left), bottom - up.at(loss) * (bottom - top)

    parts = [line((left, at(0, t)[1]), (right, at(0, t)[1]), "grid") for t in up.ticks]
    parts += [text(left - 7, at(0, t)[1] + 4, f"{t:g}", "end") for t in up.ticks]
    parts += [text(at(t, 0)[0], bottom + 18, f"{t:g}") for t in along.ticks]
    parts.append(text(0, 10, "Loss", "start", "title"))
    parts.append(text(right, bottom + 37, "Optimiser step", "end", "title"))
    kept = f" Checkpoint kept: step {shown.kept:g}." if shown.kept is not None else ""
    if shown.kept is not None:
        x, _ = at(shown.kept, 0)
        parts.append(line((x, top), (x, bottom), "kept"))
        side: Side = "end" if x > (left + right) / 2 else "start"
        shift = -6 if side == "end" else 6
        parts.append(text(x + shift, top + 10, f"kept: step {shown.kept:g}", side, "name"))
    around = [at(*point) for point in (*shown.train, *reversed(shown.held_out))]
    if shown.train and shown.held_out:
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in around)
        parts.append(f'<polygon points="{outline}" class="gap"/>')
    for points, look in ((shown.train, "train"), (shown.held_out, "held-out")):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{path}" class="loss {look}"/>')
    for point in shown.held_out:
        x, y = at(*point)
        look = "held-out kept-dot" if point[0] == shown.kept else "held-out"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="loss-dot {look}"/>')
    said = ", ".join(f"{loss:.3f} at step {step:g}" for step, loss in shown.held_out)
    gaps = [y - dict(shown.train)[x] for x, y in shown.held_out if x in dict(shown.train)]
    gap = f" Above the loss on rows trained on by {gaps[-1]:.3f} at the end." if gaps else ""
    return picture(
        "".join(parts),
        size=f'viewBox="0 0 {width} {height}"',
        title=f"Learning curve of {shown.name}",
        desc=f"Held-out loss: {said or 'not measured'}.{gap}{kept}",
        look="curve",
    )

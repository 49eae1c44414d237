"""Score against cost: points with names that do not cover each other, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from steelyard.lifecycle.page.drawing import (
    Scale,
    Side,
    line,
    log_scale,
    picture,
    scale,
    symbol,
    text,
)
from steelyard.measure.money import front

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Point:
    """One recipe of the scatter: what it spends (money or milliseconds) and what it scores."""

    name: str
    cost: float
    score: float
    interval: tuple[float, float] | None
    look: str = ""


def pareto(points: Iterable[Point]) -> list[Point]:
    """The points that no cheaper or equally cheap point beats, from the cheapest upwards."""
    return front(list(points), lambda point: point.cost, lambda point: point.score)


def scatter(
    points: Sequence[Point],
    *,
    width: int,
    label: Callable[[float], str],
    look: str,
    spent: str = "USD per 1,000 answers",
) -> str:
    """Score against what is `spent`, with whiskers, names and the Pareto front as a step line.

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
    parts.append(text(right, bottom + 46, f"{spent}{kind}", "end", "title"))

    ahead = [(x_at(p.cost), y_at(p.score)) for p in pareto(points)]
    corners = [ahead[0]]
    for (_, y), (x2, y2) in pairwise(ahead):
        corners += [(x2, y), (x2, y2)]
    corners.append((right, ahead[-1][1]))
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
        parts.append(symbol(f"{x:.1f}", f"{y:.1f}", p.look, 5.5))
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
        title=f"Score on dev against {spent}",
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

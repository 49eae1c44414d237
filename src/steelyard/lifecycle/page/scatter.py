"""Score against cost: points with names that do not cover each other, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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

# Pixels: the picture's height, where the axes stand, and how wide the strip before the costs is,
# with and without something in it.
HEIGHT, LEFT, TOP, BOTTOM = 460, 44.0, 30.0, 402.0
FREE_STRIP, STRIP = 76.0, 14.0
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
    across, free = _cost_axis([p.cost for p in points])
    up = scale([v for p in points for v in (p.score, *(p.interval or ()))], within=(0, 1))
    plane = _Plane(across, free, up, width - 16.0)
    parts = [*_axes(plane, label, spent)]
    ahead = pareto(points)
    corners = plane.corners(ahead)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    parts.append(f'<polyline points="{path}" class="front"/>')
    whiskers = [(p, plane.whisker(p)) for p in points if p.interval]
    parts += [line((x, low), (x, high), f"whisker {p.look}") for p, (x, high, _, low) in whiskers]
    spots = [plane.spot(p) for p in points]
    for (x, y), p in zip(spots, points, strict=True):
        parts.append(symbol(f"{x:.1f}", f"{y:.1f}", p.look, 5.5))
    lines: list[Box] = [
        (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
        for a, b in pairwise(corners)
    ]
    parts += _names(points, plane, [*lines, *(box for _, box in whiskers)])
    told = "; ".join(f"{p.name}: {label(p.cost)}, score {p.score:.3f}" for p in points)
    return picture(
        "".join(parts),
        size=f'viewBox="0 0 {width} {HEIGHT}"',
        title=f"Score on dev against {spent}",
        desc=f"{told}. On the line: {', '.join(p.name for p in ahead)}.",
        look=f"scatter {look}",
    )


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where costs and scores stand in the picture; what costs less than `free`, in a strip."""

    across: Scale
    free: float
    up: Scale
    right: float

    @property
    def left(self) -> float:
        """Where the axis of costs begins."""
        return LEFT + (FREE_STRIP if self.free else STRIP)

    def x_at(self, cost: float) -> float:
        if cost < self.free:
            return (LEFT + self.left) / 2
        return self.left + self.across.at(cost) * (self.right - self.left)

    def y_at(self, score: float) -> float:
        return BOTTOM - self.up.at(score) * (BOTTOM - TOP)

    def spot(self, point: Point) -> tuple[float, float]:
        return self.x_at(point.cost), self.y_at(point.score)

    def whisker(self, point: Point) -> Box:
        """The line of a point's interval, upright and without a width."""
        assert point.interval is not None
        low, high = (self.y_at(end) for end in point.interval)
        x = self.x_at(point.cost)
        return x, high, x, low

    def corners(self, front: Sequence[Point]) -> list[tuple[float, float]]:
        """Those of the step line through the points of a front, to the right end of the picture."""
        ahead = [self.spot(p) for p in front]
        found = [ahead[0]]
        for (_, y), (x2, y2) in pairwise(ahead):
            found += [(x2, y), (x2, y2)]
        return [*found, (self.right, ahead[-1][1])]


def _axes(plane: _Plane, label: Callable[[float], str], spent: str) -> Iterator[str]:
    """The grid, the ticks with their words, and what the axes are called."""
    for tick in plane.up.ticks:
        yield line((LEFT, plane.y_at(tick)), (plane.right, plane.y_at(tick)), "grid")
    for tick in plane.up.ticks:
        yield text(LEFT - 8, plane.y_at(tick) + 4, f"{tick:g}", "end")
    yield text(0, 12, "Score on dev", "start", "title")
    ticks = [(plane.x_at(tick), label(tick)) for tick in plane.across.ticks]
    if plane.free:
        ticks.insert(0, (plane.x_at(0.0), f"< {label(plane.free)}"))
        yield line((plane.left, TOP), (plane.left, BOTTOM), "break")
    for x, words in _spread(ticks):
        yield line((x, BOTTOM), (x, BOTTOM + 5), "tick")
        yield text(x, BOTTOM + 20, words)
    kind = ", log scale" if plane.across.log else ""
    yield text(plane.right, BOTTOM + 46, f"{spent}{kind}", "end", "title")


def _names(points: Sequence[Point], plane: _Plane, lines: Sequence[Box]) -> Iterator[str]:
    """The names of the points beside them, with a line to those that stand further off."""
    names = [p.name if len(p.name) <= 34 else p.name[:33] + "…" for p in points]
    spots = [plane.spot(p) for p in points]
    bounds = (LEFT + 4, TOP - 8, plane.right + 12, BOTTOM - 4)
    places = place(spots, names, lines=lines, bounds=bounds)
    for (box, side), spot, words, p in zip(places, spots, names, points, strict=True):
        x = {"start": box[0], "middle": (box[0] + box[2]) / 2, "end": box[2]}[side]
        yield _leader(spot, box)
        yield text(x, box[1] + 12, words, side, f"name {p.look}")


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

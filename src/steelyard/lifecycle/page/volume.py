"""Money over the number of answers: total costs as lines, and when a set-up is paid back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steelyard.lifecycle.page.drawing import Scale, line, log_scale, picture, text
from steelyard.lifecycle.page.scatter import LABEL_HEIGHT
from steelyard.lifecycle.page.who import Item, Verdict, look_of, sure
from steelyard.lifecycle.page.words import (
    MISSING,
    as_count,
    as_usd,
    heads,
    name_of,
    number,
    plural,
    span_of,
    table,
)

MOST_LINES = 8  # more cannot be told apart
STEPS = 48  # points of a line
DEEPEST = 1e-7  # of the dearest total: what is below is not drawn


@dataclass(frozen=True, slots=True)
class Spent:
    """A recipe's total cost over the number of answers. Units: US dollars; `usd` per answer."""

    name: str
    setup_usd: float
    usd: float
    span: tuple[float, float] | None
    look: str

    def after(self, answers: float, usd: float | None = None) -> float:
        return self.setup_usd + answers * (self.usd if usd is None else usd)


def volume_section(verdict: Verdict) -> str:
    """The lines, then the table of break-even points; those of other pairs behind a fold."""
    answer = verdict["chosen"] or verdict["prefer"]
    pairs = verdict["break_even"]
    own = [pair for pair in pairs if answer in (pair["a"], pair["b"])] or pairs
    others = [pair for pair in pairs if pair not in own]
    drawn = _lines(verdict, own)
    shown = drawn + (_table(verdict, own) if own else "")
    if others:
        shown += (
            f'<details class="more"><summary>Show {plural(len(others), "more pair")}</summary>'
            f"{_table(verdict, others)}</details>"
        )
    return shown


def _table(verdict: Verdict, pairs: Sequence[Item]) -> str:
    rows = []
    for pair in pairs:
        calls, (low, high) = number(pair["calls"]), pair["interval"] or (None, None)
        when = "never" if calls is None else "the first answer"
        if calls:
            when = plural(calls, "answer")
        span = MISSING
        if number(low) is not None:
            upper = "or more" if number(high) is None else f"to {as_count(high)}"
            span = f"{as_count(low)} {upper}"
        rows.append(
            f'<tr><th scope="row">{name_of(pair["a"])}</th><td>{name_of(pair["b"])}</td>'
            f'<td class="n">{when}</td><td class="n">{span}</td></tr>'
        )
    over = ("Cheaper for good after", f"{sure(verdict)} interval")
    head = f"<tr>{heads(('Recipe', 'Against'))}{heads(over, 'n')}</tr>"
    caption = "After how many answers the first recipe, its set-up included, has cost less."
    return table(caption, head, rows, "even")


# ---------------------------------------------------------------- the picture


def _lines(verdict: Verdict, pairs: Sequence[Item]) -> str:
    """Total cost against the number of answers, both logarithmic; nothing where all is free."""
    spent = _spent(verdict)
    if not any(one.after(1.0) > 0 for one in spent):
        return ""
    known = [calls for pair in pairs if (calls := number(pair["calls"]))]
    last = 10.0 ** min(9, max(5, math.ceil(math.log10(10 * max(known, default=1.0)))))
    left_out = len(_measured(verdict)) - len(spent)
    missing = f" {plural(left_out, 'more recipe')} would hide these." if left_out else ""
    wide = _drawing(spent, pairs, last, 1176, "wide")
    narrow = _drawing(spent, pairs, last, 380, "narrow")
    return (
        '<p class="lead">What each recipe has cost in all, its set-up included, after so many '
        "answers. A ring is where a set-up is paid back, with its interval; the shade around a "
        f"line is the interval of the cost of an answer.{missing}</p>"
        f"<figure>{wide}{narrow}</figure>"
    )


def _measured(verdict: Verdict) -> list[Item]:
    return [
        r
        for r in verdict["recipes"]
        if r["dev"]
        and r["name"] != "majority"
        and not r.get("diagnostic", False)
        and number(r["usd_per_1k"]) is not None
        and number(r["setup_usd"]) is not None
    ]


def _spent(verdict: Verdict) -> list[Spent]:
    """The recipes worth a line: the answer, what it is held against, the front, then the best."""
    first = [verdict["chosen"], verdict["prefer"], verdict["baseline"]]
    first += (verdict.get("pareto") or {}).get("usd_per_1k", [])
    order = sorted(_measured(verdict), key=lambda r: r["name"] not in first)
    made = []
    for recipe in order[:MOST_LINES]:
        span = span_of(recipe.get("usd_per_1k_interval"))
        made.append(
            Spent(
                recipe["name"],
                recipe["setup_usd"],
                recipe["usd_per_1k"] / 1000,
                (span[0] / 1000, span[1] / 1000) if span else None,
                look_of(recipe, verdict),
            )
        )
    return made


def _drawing(
    spent: Sequence[Spent], pairs: Sequence[Item], last: float, width: int, look: str
) -> str:
    height, left, top, bottom = 440, 64.0, 26.0, 380.0
    names = 190.0 if width > 600 else 112.0
    right = width - names
    along = Scale(1.0, last, _decades(1.0, last), log=True)
    most = max(one.after(last) for one in spent)
    least = max(most * DEEPEST, min(v for one in spent if (v := one.after(1.0)) > 0))
    up = log_scale([least, most])

    def at(answers: float, usd: float) -> tuple[float, float]:
        return (
            left + along.at(answers) * (right - left),
            bottom - up.at(max(usd, up.lo)) * (bottom - top),
        )

    parts = [line((left, at(1, t)[1]), (right, at(1, t)[1]), "grid") for t in up.ticks]
    parts += [text(left - 8, at(1, t)[1] + 4, _plain(t), "end") for t in up.ticks]
    shown = along.ticks if width > 600 else along.ticks[::2]
    parts += [text(at(t, up.lo)[0], bottom + 20, as_count(t)) for t in shown]
    parts.append(text(0, 12, "USD in all, log scale", "start", "title"))
    parts.append(text(right, bottom + 44, "Answers, log scale", "end", "title"))
    steps = [last ** (i / STEPS) for i in range(STEPS + 1)]
    for one in spent:
        if one.span is not None:
            edge = [at(n, one.after(n, one.span[0])) for n in steps]
            edge += [at(n, one.after(n, one.span[1])) for n in reversed(steps)]
            parts.append(f'<polygon points="{_path(edge)}" class="spread {one.look}"/>')
    for one in reversed(spent):  # the answer is drawn over the others
        path = _path([at(n, usd) for n in steps if (usd := one.after(n)) >= up.lo])
        parts.append(f'<polyline points="{path}" class="total {one.look}"/>')
    parts += _rings(spent, pairs, last, at)
    ends = [at(last, one.after(last))[1] for one in spent]
    for one, end, y in zip(spent, ends, _apart(ends, top, bottom), strict=True):
        parts.append(line((right + 3, end), (right + 15, y), "leader"))
        parts.append(text(right + 19, y + 4, one.name, "start", f"name {one.look}"))
    told = "; ".join(f"{s.name}: {as_usd(s.setup_usd)} once" for s in spent)
    return picture(
        "".join(parts),
        size=f'viewBox="0 0 {width} {height}"',
        title="Total cost against the number of answers",
        desc=told.replace("&lt;", "<"),
        look=f"scatter {look}",
    )


def _rings(
    spent: Sequence[Spent],
    pairs: Sequence[Item],
    last: float,
    at: Callable[[float, float], tuple[float, float]],
) -> list[str]:
    """Where two lines cross, with the interval of that number of answers."""
    named = {one.name: one for one in spent}
    parts = []
    for pair in pairs:
        calls = number(pair["calls"])
        if not calls or not 1 <= calls <= last or not {pair["a"], pair["b"]} <= set(named):
            continue
        usd = named[pair["a"]].after(calls)
        x, y = at(calls, usd)
        low, high = (number(end) for end in pair["interval"] or (None, None))
        if low is not None:
            start, end = at(max(1.0, low), usd), at(min(last, high or last), usd)
            parts.append(line(start, end, "whisker chosen"))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" class="dot chosen"/>')
    return parts


def _decades(low: float, high: float) -> tuple[float, ...]:
    return tuple(
        10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _plain(value: float) -> str:
    return f"${value:,.10f}".rstrip("0").rstrip(".")


def _apart(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """The places, moved up or down as little as it takes so that names do not touch.

    >>> _apart([10, 12, 100], 0, 200)
    [10, 26.0, 100]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    floor = top
    for i in order:
        moved[i] = max(moved[i], floor)
        floor = moved[i] + LABEL_HEIGHT
    ceiling = bottom
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - LABEL_HEIGHT
    return moved

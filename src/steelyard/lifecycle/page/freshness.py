"""What time does to answers: before and after, by fact, by age, and what refreshing brings."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.core import Json
from steelyard.lifecycle.page.drawing import Scale, line, picture, scale, text
from steelyard.lifecycle.page.who import Item, Verdict, find, look_of
from steelyard.lifecycle.page.words import (
    MISSING,
    as_interval,
    as_score,
    as_seconds,
    as_signed,
    esc,
    heads,
    name_of,
    plural,
    table,
)

FACTS = {"unchanged": "Unchanged", "new": "New", "superseded": "Superseded"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 230, 44.0, 326.0, 22.0, 190.0


def freshness_section(verdict: Verdict) -> str:
    """Tables and curves; nothing where no row of dev is newer than what was learned from."""
    found = verdict.get("freshness")
    if not found:
        return ""
    order = [r["name"] for r in verdict["recipes"]]
    entries = sorted(found["recipes"], key=lambda e: order.index(e["recipe"]))
    return (
        f'<p class="lead">The newest training row is of {esc(found["cutoff"])}. A fact is '
        "superseded where another answer was right then; a stale answer is that one.</p>"
        + _table(entries, verdict)
        + _ages(entries)
        + _refreshed(found["refreshed"])
    )


def _table(entries: Sequence[Item], verdict: Verdict) -> str:
    facts = [fact for fact in FACTS if any(e["facts"][fact] for e in entries)]
    names = ["Up to then", "After", *(FACTS[fact] for fact in facts), "Stale answers", "In 30 days"]
    rows = []
    for entry in entries:
        recipe = find(verdict, entry["recipe"])
        stale, slope = entry["stale"], entry["per_month"]
        cells = [entry["before"], entry["after"], *(entry["facts"][fact] for fact in facts)]
        shown = [_scored(cell) for cell in cells]
        shown.append(f"{stale['count']} of {stale['of']}" if stale else MISSING)
        moved = MISSING
        if slope:
            interval = as_interval(slope["interval"], as_signed)
            moved = f"{as_signed(slope['change'])} <small>{interval}</small>"
        shown.append(moved)
        look = look_of(recipe, verdict) if recipe else ""
        rows.append(
            f'<tr class="{look}"><th scope="row">{name_of(entry["recipe"])}</th>'
            + "".join(f'<td class="n">{cell}</td>' for cell in shown)
            + "</tr>"
        )
    head = f"<tr>{heads(['Recipe'])}{heads(names, 'n')}</tr>"
    caption = "Score on dev by the time of the row, and by what became of its fact."
    return table(caption, head, rows, "fresh")


def _scored(seen: Json) -> str:
    if not seen:
        return MISSING
    return (
        f"<b>{as_score(seen['score'])}</b> <small>{as_interval(seen['interval'])} "
        f"({seen['num_examples']})</small>"
    )


def _ages(entries: Sequence[Item]) -> str:
    """A panel for each recipe whose rows lie far enough apart to be cut into ages."""
    known = [entry for entry in entries if len(entry["by_age"]) > 1]
    if not known:
        return ""
    values = [v for e in known for p in e["by_age"] for v in (p["score"], *p["interval"])]
    up = scale(values, within=(0, 1))
    panels = "".join(
        f'<figure class="panel"><figcaption><span class="recipe">{name_of(e["recipe"])}</span>'
        f"</figcaption>{_panel(e, up)}<p>{esc(e['sentence'])}</p></figure>"
        for e in known
    )
    return f'<h3>By age</h3><div class="panels">{panels}</div>'


def _panel(entry: Item, up: Scale) -> str:
    pieces = entry["by_age"]
    along = scale([0.0, *(p["to_days"] for p in pieces)])

    def at(days: float, score: float) -> tuple[float, float]:
        return LEFT + along.at(days) * (RIGHT - LEFT), BOTTOM - up.at(score) * (BOTTOM - TOP)

    parts = [line((LEFT, at(0, t)[1]), (RIGHT, at(0, t)[1]), "grid") for t in up.ticks]
    parts += [text(LEFT - 7, at(0, t)[1] + 4, f"{t:g}", "end") for t in up.ticks]
    parts += [text(at(t, 0)[0], BOTTOM + 18, f"{t:g}") for t in along.ticks]
    parts.append(text(0, 8, "Score on dev", "start", "title"))
    parts.append(text(RIGHT, BOTTOM + 37, "Days after the newest training row", "end", "title"))
    spots = [((p["from_days"] + p["to_days"]) / 2, p["score"]) for p in pieces]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*spot) for spot in spots))
    parts.append(f'<polyline points="{path}" class="loss held-out"/>')
    for spot, piece in zip(spots, pieces, strict=True):
        x, y = at(*spot)
        low, high = (at(0, end)[1] for end in piece["interval"])
        parts.append(line((x, low), (x, high), "kept"))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="loss-dot"/>')
    said = ", ".join(
        f"{as_score(p['score'])} from day {p['from_days']:.0f} to {p['to_days']:.0f}"
        for p in pieces
    )
    return picture(
        "".join(parts),
        size=f'viewBox="0 0 {WIDTH} {HEIGHT}"',
        title=f"Score of {entry['recipe']} by age",
        desc=said,
        look="curve",
    )


def _refreshed(found: Json) -> str:
    """What each way of refreshing comes to, where a day was named."""
    if not found:
        return ""
    rows = []
    for one in found["recipes"]:
        for option in one["options"]:
            stale = option["stale"]
            gain = MISSING
            if option["difference"] is not None:
                interval = as_interval(option["difference_interval"], as_signed)
                gain = f"<b>{as_signed(option['difference'])}</b> <small>{interval}</small>"
            cells = [
                _scored(option if option["score"] is not None else None),
                gain,
                f"{stale['count']} of {stale['of']}" if stale else MISSING,
                as_seconds(option["setup_seconds"]),
            ]
            rows.append(
                f'<tr><th scope="row">{name_of(one["recipe"])}</th>'
                f"<td>{esc(option['refreshed'])}</td>"
                + "".join(f'<td class="n">{cell}</td>' for cell in cells)
                + "</tr>"
            )
    names = heads(("Score", "Against nothing", "Stale answers", "Set-up"), "n")
    head = f"<tr>{heads(('Recipe', 'Refreshed'))}{names}</tr>"
    caption = (
        f"As if built on {esc(found['day'])} and asked the "
        f"{plural(found['num_examples'], 'row')} of dev that came after it."
    )
    told = "".join(f"<p>{esc(one['sentence'])}</p>" for one in found["recipes"])
    return f"<h3>What refreshing brings</h3>{table(caption, head, rows, 'even')}{told}"

"""Scores over the number of labels: what was measured, the law through it, and the best prompt."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.lifecycle.page.drawing import Scale, line, log_scale, picture, scale, text
from steelyard.lifecycle.page.who import Item, Verdict
from steelyard.lifecycle.page.words import as_count, as_interval, as_score, esc, name_of

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 250, 44.0, 366.0, 22.0, 206.0


def labels_section(verdict: Verdict) -> str:
    """A panel for each recipe; nothing where no shares of the labels were tried."""
    curves = [curve for curve in verdict.get("label_curves") or () if curve["points"]]
    if not curves:
        return ""
    values = [p["score"] for curve in curves for p in curve["points"]]
    values += [end for curve in curves for p in curve["line"] for end in p["interval"]]
    values += [curve["prompt"]["score"] for curve in curves if curve["prompt"]]
    up = scale(values, within=(0, 1))
    panels = "".join(
        f'<figure class="panel"><figcaption><span class="recipe">{name_of(curve["recipe"])}</span>'
        f"</figcaption>{_panel(curve, up)}<p>{esc(curve['sentence'])}</p></figure>"
        for curve in curves
    )
    return (
        '<p class="lead">Each ring is the recipe built from so many labels with one seed, and '
        "measured on all of dev. The line is a power law of the error with its interval, drawn on "
        "to twice the labels that there are; the dashed line is the best recipe that needs none."
        "</p>"
        f'<div class="panels">{panels}</div>'
    )


def _panel(curve: Item, up: Scale) -> str:
    points, law, prompt = curve["points"], curve["line"], curve["prompt"]
    along = log_scale([*(p["num_labels"] for p in points), *(p["num_labels"] for p in law)])

    def at(labels: float, score: float) -> tuple[float, float]:
        return LEFT + along.at(labels) * (RIGHT - LEFT), BOTTOM - up.at(score) * (BOTTOM - TOP)

    def path(pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*pair) for pair in pairs))

    parts = [line((LEFT, at(1, t)[1]), (RIGHT, at(1, t)[1]), "grid") for t in up.ticks]
    parts += [text(LEFT - 7, at(1, t)[1] + 4, f"{t:g}", "end") for t in up.ticks]
    counts = sorted({p["num_labels"] for p in points})
    parts += [text(at(n, 0)[0], BOTTOM + 18, as_count(n)) for n in _apart(counts, along)]
    parts.append(text(0, 8, "Score on dev", "start", "title"))
    parts.append(text(RIGHT, BOTTOM + 37, "Labels, log scale", "end", "title"))
    if law:
        edge = [(p["num_labels"], p["interval"][0]) for p in law]
        edge += [(p["num_labels"], p["interval"][1]) for p in reversed(law)]
        parts.append(f'<polygon points="{path(edge)}" class="spread chosen"/>')
        drawn = path([(p["num_labels"], p["score"]) for p in law])
        parts.append(f'<polyline points="{drawn}" class="loss held-out"/>')
    if prompt:
        y = at(1, prompt["score"])[1]
        parts.append(line((LEFT, y), (RIGHT, y), "kept"))
        parts.append(text(RIGHT, y - 5, prompt["recipe"], "end", "name"))
    crossing = (curve["crossing"] or {}).get("num_labels")
    if crossing and along.lo <= crossing <= along.hi and prompt:
        x, y = at(crossing, prompt["score"])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="loss-dot kept-dot"/>')
    for p in points:
        x, y = at(p["num_labels"], p["score"])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="dot"/>')
    said = ", ".join(f"{as_score(p['score'])} at {p['num_labels']}" for p in points)
    if curve["more"]:
        said += f". Twice as many: {as_interval(curve['more']['interval'])} more"
    return picture(
        "".join(parts),
        size=f'viewBox="0 0 {WIDTH} {HEIGHT}"',
        title=f"Score of {curve['recipe']} over the number of labels",
        desc=said,
        look="curve",
    )


def _apart(counts: Sequence[int], along: Scale) -> list[int]:
    """Those whose numbers do not touch the one before."""
    kept: list[int] = []
    for count in counts:
        if not kept or (along.at(count) - along.at(kept[-1])) * (RIGHT - LEFT) > 34:
            kept.append(count)
    return kept

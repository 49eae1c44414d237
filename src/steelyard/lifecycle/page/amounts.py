"""The report's pictures of a sweep: score, wait and cost over the amount of one part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from steelyard.core import Json
from steelyard.lifecycle.page.drawing import line, picture, scale, text
from steelyard.lifecycle.page.words import (
    as_interval,
    as_ms,
    as_score,
    as_usd,
    esc,
    name_of,
    number,
    span_of,
)

Span = tuple[float, float] | None
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 230, 52.0, 326.0, 26.0, 190.0


def amounts_section(verdict: Mapping[str, Json]) -> str:
    """One row of panels for each curve; nothing where nothing was swept."""
    return "".join(_panels(curve) for curve in verdict.get("curves") or () if curve["points"])


def _panels(curve: Mapping[str, Json]) -> str:
    points = [p for p in curve["points"] if p["dev"]]
    values = [p["value"] for p in points]
    spot = curve["sweet_spot"]
    scores = [(number(p["dev"]["score"]), span_of(p["dev"]["interval"])) for p in points]
    waits = [(number(p["latency_ms"]["p50"]), _spread(p["latency_ms"])) for p in points]
    costs = [(number(p["usd_per_1k"]), span_of(p.get("usd_per_1k_interval"))) for p in points]
    bounded = ", with interval" if any(span for _, span in costs) else ""
    told: list[tuple[str, Sequence[tuple[float | None, Span]], Callable[[Json], str]]] = [
        ("Score on dev, with interval", scores, as_score),
        ("Milliseconds alone, p50 to p95", waits, as_ms),
        (f"USD per 1,000 answers{bounded}", costs, as_usd),
    ]
    panels = "".join(
        f'<figure class="panel"><figcaption>{esc(title)}</figcaption>'
        f"{_panel(title, curve['part'], values, seen, spot, form)}</figure>"
        for title, seen, form in told
        if any(value is not None for value, _ in seen)
    )
    base = str(curve["points"][0]["recipe"]).partition("[")[0]
    return (
        f'<p class="lead">{name_of(base)} with {esc(curve["part"])} = '
        f"{esc(', '.join(str(v) for v in values))}. {esc(curve['sentence'])}</p>"
        f'<div class="panels">{panels}</div>'
    )


def _spread(latency_ms: Mapping[str, Json]) -> Span:
    return span_of((latency_ms["p50"], latency_ms["p95"]))


def _panel(
    title: str,
    part: str,
    values: Sequence[int],
    seen: Sequence[tuple[float | None, Span]],
    spot: int | None,
    form: Callable[[Json], str],
) -> str:
    """Amounts stand at equal distances, whatever lies between them."""
    known = [(i, value, span) for i, (value, span) in enumerate(seen) if value is not None]
    up = scale([0.0, *(x for _, value, span in known for x in (value, *(span or ())))])
    gap = (RIGHT - LEFT) / max(1, len(values))

    def at(place: int, value: float) -> tuple[float, float]:
        return LEFT + (place + 0.5) * gap, BOTTOM - up.at(value) * (BOTTOM - TOP)

    parts = [line((LEFT, at(0, t)[1]), (RIGHT, at(0, t)[1]), "grid") for t in up.ticks]
    parts += [text(LEFT - 7, at(0, t)[1] + 4, f"{t:g}", "end") for t in up.ticks]
    parts += [text(at(i, 0)[0], BOTTOM + 18, str(value)) for i, value in enumerate(values)]
    parts.append(text(RIGHT, BOTTOM + 37, part, "end", "title"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(i, value) for i, value, _ in known))
    parts.append(f'<polyline points="{path}" class="loss held-out"/>')
    for place, value, span in known:
        x, y = at(place, value)
        if span is not None:
            parts.append(line((x, at(place, span[0])[1]), (x, at(place, span[1])[1]), "kept"))
        look = "held-out kept-dot" if values[place] == spot else "held-out"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="loss-dot {look}"/>')
    said = ", ".join(
        f"{form(value)}{' ' + as_interval(span, form) if span else ''} at {values[place]}"
        for place, value, span in known
    )
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    return picture("".join(parts), size=size, title=f"{title} over {part}", desc=said, look="curve")

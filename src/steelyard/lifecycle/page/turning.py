"""What would change the answer: an axis for each thing that may be otherwise, cut where it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from steelyard.core import Json
from steelyard.lifecycle.page.drawing import Scale, log_scale, picture
from steelyard.lifecycle.page.scatter import text_width
from steelyard.lifecycle.page.who import Item, Verdict
from steelyard.lifecycle.page.words import as_count, as_ms, as_score, as_usd, esc, number
from steelyard.measure.turning import here

AIR = 4.0  # times past the outermost steps that a logarithmic axis goes on
WIDE = 900.0  # pixels of a drawing on a desk; on a phone the names are left to the sentence


def _as_times(value: Json) -> str:
    return f"{value:.2g}×"


_FORMS: Mapping[str, Callable[[Json], str]] = {
    "tolerance": as_score,
    "p95_ms": lambda value: f"{as_ms(value)} ms",
    "usd_per_1k": as_usd,
    "usd_per_machine_hour": as_usd,
    "volume": as_count,
    "labels": as_count,
}


def turning_section(verdict: Verdict) -> str:
    """A sentence and a drawing for each; nothing for verdicts of earlier versions."""
    found = verdict.get("turning_points") or ()
    if not found:
        return ""
    lead = (
        '<p class="lead">The decision, taken again on what was measured with one thing changed. '
        "The coloured piece is what holds now; a question mark means that the data could not "
        "tell.</p>"
    )
    return lead + "".join(
        f'<div class="turn"><p>{esc(entry["sentence"])}</p>{_drawing(entry)}</div>'
        for entry in found
    )


def _drawing(entry: Item) -> str:
    """The axis in pieces; nothing where there is one piece alone."""
    pieces, now = entry["answers"], number(entry["now"])
    steps = [piece["from"] for piece in pieces[1:]]
    if not steps:
        return ""
    across = _axis(entry, steps, now)
    form = _FORMS.get(entry["of"], _as_times)
    at = here(pieces, now)
    ends = [0.0, *(across.at(step) for step in steps), 1.0]
    parts = [
        _piece(piece, left, right, i == at)
        for i, (piece, left, right) in enumerate(zip(pieces, ends[:-1], ends[1:], strict=True))
    ]
    told = -1.0
    for step, share in zip(steps, ends[1:-1], strict=True):
        parts.append(f'<line x1="{share:.2%}" y1="0" x2="{share:.2%}" y2="34" class="tick" />')
        words = form(step)
        if (share - told) * WIDE > text_width(words) + 8:
            parts.append(f'<text x="{share:.2%}" y="48" text-anchor="middle">{words}</text>')
            told = share
    if now is not None and across.lo <= now <= across.hi:
        x = f"{across.at(now):.2%}"
        parts.append(f'<line x1="{x}" y1="-4" x2="{x}" y2="34" class="now"/>')
    return picture(
        "".join(parts), size='width="100%" height="52"', title=str(entry["sentence"]), look="turned"
    )


def _axis(entry: Item, steps: Sequence[float], now: float | None) -> Scale:
    known = [*steps, *([now] if now else [])]
    if entry["of"] == "tolerance":
        return Scale(0.0, min(1.0, 1.6 * max(known)), ())
    return log_scale([min(known) / AIR, max(known) * AIR])


def _piece(piece: Item, left: float, right: float, is_now: bool) -> str:
    look = "holds" if is_now else str(piece["outcome"])
    words = {"nothing_works": "nothing"}.get(piece["outcome"], str(piece["recipe"]))
    words += "?" if piece["outcome"] == "cannot_tell" else ""
    drawn = (
        f'<rect x="{left:.2%}" y="2" width="{right - left:.2%}" height="26" class="piece {look}"/>'
    )
    if (right - left) * WIDE < text_width(words) + 8:
        return drawn
    middle = (left + right) / 2
    return (
        f'{drawn}<text x="{middle:.2%}" y="19" text-anchor="middle" class="piece-name {look}">'
        f"{esc(words)}</text>"
    )

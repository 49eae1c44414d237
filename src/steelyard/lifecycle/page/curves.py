"""Learning curves: losses by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.lifecycle.page.drawing import Scale, Side, line, picture, scale, text


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

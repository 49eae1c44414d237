"""Learning curves of recipes with trained weights."""

from __future__ import annotations

from steelyard.lifecycle.page.curves import Curve, curve
from steelyard.lifecycle.page.drawing import scale
from steelyard.lifecycle.page.who import Item, Verdict, sign, who
from steelyard.lifecycle.page.words import esc, number


def learning_section(verdict: Verdict) -> str:
    trained = [r for r in verdict["recipes"] if (r["learning_curve"] or {}).get("points")]
    if not trained:
        return ""
    curves = [_curve_of(r) for r in trained]
    up = scale([0.0, *(loss for c in curves for _, loss in (*c.train, *c.held_out))])
    panels = "".join(
        f'<figure class="panel"><figcaption>{who(r, verdict)}</figcaption>{curve(c, up)}'
        f"<p>{esc(r['learning_curve']['stopped'] or r['why'])}</p></figure>"
        for r, c in zip(trained, curves, strict=True)
    )
    held_out = (
        '<path d="M1 7h24" class="loss held-out"/>'
        '<circle cx="13" cy="7" r="3.5" class="loss-dot held-out"/>'
    )
    trained_on = '<path d="M1 7h24" class="loss train"/>'
    return (
        '<p class="lead">Loss on the rows trained on and on a slice of train held out from them. '
        "The area between them is the gap: where it widens while the held-out loss rises, the "
        f'rows are learned by heart.</p><p class="key">{sign(held_out, "held out", 26)}'
        f"{sign(trained_on, 'trained on', 26)}</p>"
        f'<div class="panels">{panels}</div>'
    )


def _curve_of(recipe: Item) -> Curve:
    learned = recipe["learning_curve"]

    def losses(kind: str) -> list[tuple[float, float]]:
        found = ((number(p["step"]), number(p[kind])) for p in learned["points"])
        return [(x, y) for x, y in found if x is not None and y is not None]

    kept = number(learned["best_step"])
    return Curve(recipe["name"], losses("train_loss"), losses("held_out_loss"), kept)

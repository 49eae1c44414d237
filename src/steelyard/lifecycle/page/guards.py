"""The report's table of what training may have spoilt."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.core import Json
from steelyard.lifecycle.page.words import MISSING, as_score, esc, heads, name_of, table

_ROWS = {
    "plain": "Score on unchanged inputs",
    "case": "… with another case",
    "typos": "… with typos",
    "lines": "… with the lines reordered",
}


def guards_section(verdict: Mapping[str, Json]) -> str:
    """A table for each recipe with trained weights; nothing where there is none."""
    guarded = [r for r in verdict["recipes"] if r.get("guards")]
    if not guarded:
        return ""
    lead = (
        '<p class="lead">Before training and after it: small changes of dev inputs, what the model '
        "still knows, and how far it is from its base on the base's own answers to neutral prompts "
        "(nats per token; 0 is no change).</p>"
    )
    return lead + "".join(_one(r["name"], r["guards"]) for r in guarded)


def _one(name: str, guards: Json) -> str:
    robust, forgetting = guards["robustness"], guards["forgetting"] or {}
    before, after = robust["before"] or {}, robust["after"] or {}
    rows = [
        _row(title, as_score(before.get(kind)), as_score(after.get(kind)), robust["num_examples"])
        for kind, title in _ROWS.items()
        if kind in after
    ]
    rows += [
        _row(
            f"Retention: {name_of(one['name'])}",
            as_score(one["before"]),
            as_score(one["after"]),
            one["num_examples"],
        )
        for one in forgetting.get("retention", ())
    ]
    if away := forgetting.get("divergence"):
        nats = as_score(away["nats_per_token"])
        rows.append(_row("Divergence from the base", as_score(0.0), nats, away["num_prompts"]))
    head = f"<tr>{heads([''])}{heads(('before', 'after', 'n'), 'n')}</tr>"
    return f"{table(name_of(name), head, rows, 'even')}<p>{esc(guards['sentence'])}</p>"


def _row(title: str, before: str, after: str, count: int) -> str:
    cells = "".join(f'<td class="n">{cell or MISSING}</td>' for cell in (before, after, count))
    return f'<tr><th scope="row">{title}</th>{cells}</tr>'

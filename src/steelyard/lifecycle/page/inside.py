"""What the scorer saw: figures by field, and of whole answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steelyard.core import Json
from steelyard.lifecycle.page.dots import bar
from steelyard.lifecycle.page.who import Item, Verdict, look_of, who
from steelyard.lifecycle.page.words import (
    MISSING,
    as_count,
    as_score,
    as_share,
    esc,
    name_of,
    number,
    table,
)

_MEASURES: dict[str, tuple[str, Callable[[Json], str]]] = {
    "accuracy": ("Accuracy", as_score),
    "macro_f1": ("Macro-F1", as_score),
    "valid": ("Valid answers", as_share),
    "score_given_valid": ("Score of the valid", as_score),
    "valid_but_wrong": ("Valid but wrong", as_share),
    "exact": ("Right in every field", as_share),
    "empty": ("Expected fields left empty", as_share),
}


def inside_section(verdict: Verdict) -> str:
    recipes = [r for r in verdict["recipes"] if (r["dev"] or {}).get("details")]
    if not recipes:
        return ""
    details = [r["dev"]["details"] for r in recipes]
    looks = [look_of(r, verdict) for r in recipes]
    names = list(dict.fromkeys(name for d in details for name in d.get("fields") or {}))
    known = [(key, *_MEASURES[key]) for key in _MEASURES if any(key in d for d in details)]
    columns = "".join(
        f'<th scope="col" class="n {look}"><div class="stack">'
        f"{who(r, verdict, status=False)}</div></th>"
        for r, look in zip(recipes, looks, strict=True)
    )
    group = f'<tr class="group"><th scope="rowgroup" colspan="{len(recipes) + 2}">'
    rows = [f"{group}F1 by field</th></tr>"] if names else []
    for name in names:
        rows.append(_field_row(name, [(d.get("fields") or {}).get(name) for d in details], looks))
    if names and known:
        rows.append(f"{group}Whole answers</th></tr>")
    for key, title, form in known:
        cells = "".join(
            f'<td class="n {look}">{form(d.get(key))}</td>'
            for d, look in zip(details, looks, strict=True)
        )
        rows.append(f'<tr><th scope="row">{title}</th><td></td>{cells}</tr>')
    caption = f"What the scorer “{esc(verdict['scorer'])}” saw on dev."
    caption += " n counts the expected values." if names else ""
    corner = f'<tr><td></td><th scope="col" class="n">{"n" if names else ""}</th>{columns}</tr>'
    return table(caption, corner, rows, "inside" if names else "inside few")


def _field_row(name: str, seen: Sequence[Item | None], looks: Sequence[str]) -> str:
    support = next((s["support"] for s in seen if s), None)
    values = [number(s["f1"]) if s else None for s in seen]
    best = max((v for v in values if v is not None), default=None)
    cells = ""
    for field, value, look in zip(seen, values, looks, strict=True):
        if field is None or value is None:
            cells += f'<td class="n {look}">{MISSING}</td>'
            continue
        more = f"precision {as_score(field['precision'])}, recall {as_score(field['recall'])}"
        shown = f"<b>{value:.3f}</b>" if value == best else f"{value:.3f}"
        cells += f'<td class="n {look}" title="{more}">{shown}{bar(value, look)}</td>'
    head = f'<th scope="row">{name_of(name)}</th><td class="n">{as_count(support)}</td>'
    return f"<tr>{head}{cells}</tr>"

"""The report's section about why scores are what they are: diagnostics, and passages by place."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.core import Json
from steelyard.lifecycle.page.words import (
    MISSING,
    as_count,
    as_score,
    as_share,
    bullets,
    esc,
    heads,
    name_of,
    table,
)
from steelyard.measure.grading import POSITIONS

# What stands above the column of each of `POSITIONS`, in the order of the columns.
PLACES = dict(
    zip(
        POSITIONS,
        ("First", "In the middle", "Last", "Alone", "In several places", "Not shown"),
        strict=True,
    )
)


def explained_section(verdict: Mapping[str, Json]) -> str:
    """The sentences of the diagnostics and the table of places; nothing where there is neither."""
    sentences = [esc(found["sentence"]) for found in verdict.get("diagnostics") or ()]
    said = bullets(sentences) if sentences else ""
    return said + _places(verdict)


def _places(verdict: Mapping[str, Json]) -> str:
    """Score by where the right passage stood in the prompt, for each recipe with passages."""
    found = [(r["name"], (r["dev"] or {}).get("details") or {}) for r in verdict["recipes"]]
    known = [(name, details) for name, details in found if details.get("position")]
    if not known:
        return ""
    shown = [place for place in PLACES if any(place in d["position"] for _, d in known)]
    rows = [
        f'<tr><th scope="row">{name_of(name)}</th><td class="n">{as_share(details.get("recall"))}'
        f"</td>{''.join(_cell(details['position'].get(place)) for place in shown)}</tr>"
        for name, details in known
    ]
    caption = (
        "Where the right passage stood in the prompt, and the score on dev when it stood there, "
        "with the number of examples. Last is next to the question. Search puts it where it finds "
        "it, and what is easy to find may be easy to answer: a hint, not a trial of places."
    )
    names = heads((PLACES[place] for place in shown), "n")
    head = f"<tr>{heads(['Recipe'])}{heads(['Evidence shown'], 'n')}{names}</tr>"
    return f"<h3>The right passage</h3>{table(caption, head, rows, 'even')}"


def _cell(seen: Mapping[str, Json] | None) -> str:
    if seen is None:
        return f'<td class="n">{MISSING}</td>'
    count = as_count(seen["num_examples"])
    return f'<td class="n">{as_score(seen["score"])} <small>({count})</small></td>'

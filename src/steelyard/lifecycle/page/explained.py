"""The report's section about why scores are what they are: diagnostics, passages by place, and how
far each section of a long answer is supported by what was found for it."""

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
    """The sentences of the diagnostics and the two tables; nothing where there is none of them."""
    sentences = [esc(found["sentence"]) for found in verdict.get("diagnostics") or ()]
    said = bullets(sentences) if sentences else ""
    return said + _places(verdict) + _sections(verdict)


def _places(verdict: Mapping[str, Json]) -> str:
    """Score by where the right passage stood in the prompt, for each recipe with passages."""
    known = _details(verdict, "position")
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


def _sections(verdict: Mapping[str, Json]) -> str:
    """Support of the first sections of long answers, of the second ones, and so on."""
    known = [(name, details["sections"]) for name, details in _details(verdict, "sections")]
    if not known:
        return ""
    count = max(len(found["supported_by_place"]) for _, found in known)
    rows = []
    for name, found in known:
        shares = [*found["supported_by_place"], *[None] * count][:count]
        cells = "".join(
            f'<td class="n">{MISSING if share is None else as_share(share)}</td>'
            for share in (found["supported"], *shares)
        )
        mean = f'<td class="n">{found["mean"]:.1f}</td>'
        rows.append(f'<tr><th scope="row">{name_of(name)}</th>{mean}{cells}</tr>')
    caption = (
        "Sections of an answer, on average, and the share of their sentences whose words stand in "
        "the passages that were found for that section: of all sections, and of the first, the "
        "second and so on. Where later ones fall, the context was lost on the way."
    )
    places = heads((str(place) for place in range(1, count + 1)), "n")
    head = f"<tr>{heads(['Recipe'])}{heads(['Sections', 'Supported'], 'n')}{places}</tr>"
    return f"<h3>Long answers</h3>{table(caption, head, rows, 'even')}"


def _details(verdict: Mapping[str, Json], key: str) -> list[tuple[str, Mapping[str, Json]]]:
    """The recipes of which dev has these details."""
    found = [(r["name"], (r["dev"] or {}).get("details") or {}) for r in verdict["recipes"]]
    return [(name, details) for name, details in found if details.get(key)]


def _cell(seen: Mapping[str, Json] | None) -> str:
    if seen is None:
        return f'<td class="n">{MISSING}</td>'
    count = as_count(seen["num_examples"])
    return f'<td class="n">{as_score(seen["score"])} <small>({count})</small></td>'

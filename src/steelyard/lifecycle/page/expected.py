"""What the evidence said before measuring, and whether it was right."""

from __future__ import annotations

from steelyard.lifecycle.page.who import Verdict
from steelyard.lifecycle.page.words import bullets, esc, name_of


def expected_section(verdict: Verdict) -> str:
    """A sentence and the two lists; nothing where nothing was bet on."""
    prior = verdict.get("prior")
    if not prior or prior["bet"] is None:
        return ""
    mark = {True: "hit", False: "miss"}.get(prior["hit"])
    tag = (
        f' <span class="tag {"chosen" if mark == "hit" else "failed"}">{mark}</span>'
        if mark
        else ""
    )
    lists = [
        f"{title}: {', '.join(name_of(name) for name in prior[key])}."
        for key, title in (("first", "To try first"), ("skip", "To leave out at first"))
        if prior[key]
    ]
    return f'<p class="lead">{esc(prior["sentence"])}{tag}</p>{bullets(lists)}'

"""What `steelyard check` found in the data."""

from __future__ import annotations

from steelyard.lifecycle.page.who import Item, Verdict
from steelyard.lifecycle.page.words import esc, plural

NUM_EVIDENCE = 5  # ids on the page; the JSON has all
OPEN = ("severe", "warning")


def audit_section(verdict: Verdict) -> str:
    """Severe findings and warnings, then the notes behind a fold; nothing without an audit."""
    audit = verdict.get("audit")
    if not audit:
        return ""
    findings = audit["findings"]
    shown = [f for f in findings if f["severity"] in OPEN]
    notes = [f for f in findings if f["severity"] not in OPEN]
    body = "".join(_finding(f, audit["places"]) for f in shown)
    lead = f"{plural(len(shown), 'finding')} to look at, {plural(len(notes), 'note')}."
    if not shown:
        lead = "Nothing severe and nothing to warn of."
    if notes:
        body += (
            f'<details class="more"><summary>Show {plural(len(notes), "note")}</summary>'
            f"{''.join(_finding(f, audit['places']) for f in notes)}</details>"
        )
    return f'<p class="lead">{lead}</p>{body}'


def _finding(finding: Item, places: Item) -> str:
    severity = finding["severity"]
    rows = ""
    if finding["evidence"] and severity in OPEN:
        ids = finding["evidence"][:NUM_EVIDENCE]
        named = ", ".join(f"{esc(i)} ({esc(places[i])})" if i in places else esc(i) for i in ids)
        more = len(finding["evidence"]) - len(ids)
        rest = f" and {more:,} more" if more else ""
        rows = f"<p><small>Rows: {named}{rest}</small></p>"
    look = "failed" if severity == "severe" else ""
    remedy = "" if severity not in OPEN else f"<p>→ {esc(finding['remedy'])}</p>"
    return (
        f'<article class="finding"><h4><span class="tag {look}">{esc(severity)}</span> '
        f"{esc(finding['code'])}</h4><p>{esc(finding['message'])}</p>{rows}{remedy}</article>"
    )

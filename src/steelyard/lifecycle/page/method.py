"""How it was measured, and what was not."""

from __future__ import annotations

from collections.abc import Callable

from steelyard.lifecycle.page.who import Item, Verdict, sure
from steelyard.lifecycle.page.words import (
    as_count,
    as_score,
    as_seconds,
    bullets,
    esc,
    facts_list,
    name_of,
    number,
    plural,
)


def method_section(verdict: Verdict) -> str:
    versions = ", ".join(f"{esc(k)} {esc(v)}" for k, v in verdict["versions"].items())
    looks, minutes = verdict["test_looks"], number(verdict["minutes"])
    tolerance, seed = number(verdict["tolerance"]), verdict["seed"]
    facts = [
        ("Examples", ", ".join(f"{as_count(n)} {esc(k)}" for k, n in verdict["splits"].items())),
        ("Scorer", esc(verdict["scorer"])),
        ("Smallest detectable difference", as_score(verdict["minimum_detectable_difference"])),
        ("Confidence", sure(verdict)),
        ("Tolerance", "" if tolerance is None else f"{tolerance:g}"),
        ("Sealed test looked at", {0: "never", 1: "once"}.get(looks) or plural(looks, "time")),
        ("Seed", "" if number(seed) is None else str(seed)),
        ("Time taken", as_seconds(minutes and minutes * 60)),
        ("Hardware", esc(verdict["hardware"])),
        ("Versions", versions),
        ("Task hash", f"<code>{esc(verdict['task_hash'])}</code>"),
    ]
    body = f"<h3>Set-up of the measurement</h3>{facts_list(facts)}"
    if verdict["notes"]:
        body += f"<h3>Notes</h3>{bullets(esc(note) for note in verdict['notes'])}"
    missing = _not_measured(verdict)
    return body + (f"<h3>Not measured</h3>{bullets(missing)}" if missing else "")


def _not_measured(verdict: Verdict) -> list[str]:
    """What the reader may look for and not find, each with its reason."""

    def names(wanted: Callable[[Item], bool]) -> str:
        return ", ".join(name_of(r["name"]) for r in verdict["recipes"] if wanted(r))

    said = [
        f"{name_of(r['name'])} has no score: {esc(r['why'] or 'no reason was recorded.')}"
        for r in verdict["recipes"]
        if not r["dev"] and not r["test"]
    ]
    reasons = (
        (
            lambda r: bool(r["dev"] and not r["test"]),
            "Not measured on test, which stays sealed for the choice and what it is compared with",
        ),
        (
            lambda r: bool(r["dev"]) and number(r["usd_per_1k"]) is None,
            "No cost, because no price or no machine-hour is known",
        ),
        (
            lambda r: bool(r["dev"]) and number((r["latency_ms"] or {}).get("p50")) is None,
            "No latency, because no example was answered alone",
        ),
    )
    return said + [f"{why}: {found}." for wanted, why in reasons if (found := names(wanted))]

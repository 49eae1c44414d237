"""How much these splits can tell, before anything runs."""

from __future__ import annotations

from steelyard.audit.findings import Finding, Severity
from steelyard.audit.sheet import Sheet
from steelyard.core import Json, Split
from steelyard.measure.sentences import LIKELY_DISAGREEMENT, SMALL_DIFFERENCE
from steelyard.measure.statistics import examples_needed, minimum_detectable_difference

MEASURED: tuple[Split, ...] = ("dev", "test")


def enough(sheet: Sheet) -> list[Finding]:
    """What difference dev and test can detect, and how many rows would detect the tolerance."""
    figures: dict[str, Json] = {}
    sizes = {}
    for split in MEASURED:
        examples = sheet.examples(split)
        groups = len({example.group for example in examples})
        if groups < 2:
            return []
        sizes[split] = (len(examples), groups)
        figures[split] = minimum_detectable_difference(groups, disagreement=LIKELY_DISAGREEMENT)
    said = " and ".join(
        f"{split} ({_size(*sizes[split])}) of {figures[split]:.3f}" for split in MEASURED
    )
    message = (
        f"Differences between two recipes that are mostly found (80 % power), if they disagree "
        f"on three examples in ten: {said}."
    )
    tolerance = sheet.task.tolerance
    remedy = "Take rows from train if it has many, or label more."
    if tolerance > 0:
        needed = examples_needed(tolerance, disagreement=max(LIKELY_DISAGREEMENT, tolerance))
        figures["examples_for_tolerance"] = needed
        message += f" The tolerance of {tolerance:g} would need {needed:,} independent rows."
    severity: Severity = "warning" if figures["dev"] > SMALL_DIFFERENCE else "note"
    return [Finding(severity, "what-can-be-told", message, remedy, figures=figures)]


def _size(rows: int, groups: int) -> str:
    return f"{rows:,} rows" if rows == groups else f"{rows:,} rows in {groups:,} groups"

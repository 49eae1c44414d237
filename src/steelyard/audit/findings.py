"""What an audit says: rows, each with its evidence and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from steelyard.core import Json

Severity = Literal["severe", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("severe", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. `evidence` are ids of examples, or `file:line` for rows that are
    no examples of the task; `figures` are the numbers behind the message.

    A `severe` one makes scores wrong, a `warning` may, a `note` is good to know.
    """

    severity: Severity
    code: str
    message: str
    remedy: str
    evidence: tuple[str, ...] = ()
    figures: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Plain values, for JSON."""
        return {**asdict(self), "evidence": list(self.evidence), "figures": dict(self.figures)}


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The severest first; those of one severity stay in their order."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def percent(part: float, whole: float) -> str:
    """A share in words.

    >>> percent(1, 8), percent(2, 1000), percent(0, 0)
    ('12 %', '0.2 %', '0 %')
    """
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 1 or share == 0 else f"{share:.1f} %"

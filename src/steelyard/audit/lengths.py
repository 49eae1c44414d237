"""Whether inputs and answers fit the model's context, and how many examples fit beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard.audit.findings import Finding, Severity, percent
from steelyard.audit.sheet import Placed, Sheet
from steelyard.core import Context
from steelyard.models import Backend
from steelyard.recipes.prompt import Frame, build_prompt, target_text
from steelyard.tasks.wording import count

SEVERE_SHARE = 0.05  # of the rows; more failures than this and a recipe has no score at all


@dataclass(frozen=True, slots=True)
class _Length:
    """Tokens of the plain prompt with its answer, and of the row's own text in them."""

    row: Placed
    whole: int
    own: int


def lengths(sheet: Sheet, backend: Backend, name: str) -> list[Finding]:
    """The rows that do not fit the context of the base model `name`, and what fits beside one."""
    frame = Frame.of(sheet.task, Context())
    empty = backend.count_tokens(build_prompt(frame, (), ""))
    found = [_length(row, frame, backend, empty) for row in sheet.rows]
    limit = backend.context_tokens
    beyond = [length for length in found if length.whole > limit]
    findings = []
    if beyond:
        longest = max(beyond, key=lambda length: length.whole)
        severity: Severity = "severe" if len(beyond) > SEVERE_SHARE * len(found) else "warning"
        findings.append(
            Finding(
                severity,
                "too-long",
                f"{count(len(beyond), 'row')} ({percent(len(beyond), len(found))}) do not fit the "
                f"{limit:,} tokens of {name} with their answer; {longest.row.id} has "
                f"{longest.whole:,}.",
                'Shorten them, name a model of longer context, or set too_long = "truncate" under '
                "[limits].",
                tuple(length.row.id for length in beyond),
            )
        )
    whole = np.array([length.whole for length in found])
    shot = float(np.mean([length.own for length in found]))
    room = max(0, int((limit - np.percentile(whole, 95)) // max(shot, 1.0)))
    findings.append(
        Finding(
            "note",
            "lengths",
            f"The plain prompt with its answer has {np.median(whole):,.0f} tokens (median), "
            f"{np.percentile(whole, 95):,.0f} (95th percentile), {whole.max():,} at most, of the "
            f"{limit:,} of {name}; about {count(room, 'example')} fit beside most inputs.",
            "Nothing.",
            figures={
                "median": float(np.median(whole)),
                "p95": float(np.percentile(whole, 95)),
                "most": int(whole.max()),
                "context_tokens": limit,
            },
        )
    )
    return findings


def _length(row: Placed, frame: Frame, backend: Backend, empty: int) -> _Length:
    prompt = backend.count_tokens(build_prompt(frame, (), row.example.input))
    answer = backend.count_target_tokens(target_text(row.example.target))
    return _Length(row, prompt + answer, prompt - empty + answer)

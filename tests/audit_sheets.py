"""Small sheets for the audit's tests, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fake_tasks import example, make_task
from steelyard.audit.sheet import Placed, Sheet
from steelyard.core import SPLITS, Example, Output, Split

Rows = Sequence[tuple[str, Any]]


def sheet_of(
    train: Sequence[Example] | Rows,
    dev: Sequence[Example] | Rows = (),
    test: Sequence[Example] | Rows = (),
    *,
    output: Output | None = None,
    **changes: Any,
) -> Sheet:
    """A sheet of examples, or of (input, target) with ids such as train-0."""
    splits: Mapping[Split, list[Example]] = {
        name: [_example(row, f"{name}-{n}") for n, row in enumerate(rows)]
        for name, rows in zip(SPLITS, (train, dev, test), strict=True)
    }
    targets = {str(e.target) for rows in splits.values() for e in rows}
    output = Output("label", labels=tuple(sorted(targets))) if output is None else output
    task = make_task(
        splits["train"], output, dev=tuple(splits["dev"]), test=tuple(splits["test"]), **changes
    )
    rows = tuple(Placed(e, split) for split in SPLITS for e in task.split(split))
    return Sheet(task, rows, {row.id: f"rows.jsonl:{n}" for n, row in enumerate(rows, 1)})


def _example(row: Any, id_: str) -> Example:
    return row if isinstance(row, Example) else example(id_, row[0], row[1])


def codes(findings: Sequence[Any]) -> list[tuple[str, str]]:
    """Severity and code of each finding."""
    return [(finding.severity, finding.code) for finding in findings]

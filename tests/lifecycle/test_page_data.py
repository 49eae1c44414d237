"""What the report says of the data: scores by slice, and the findings of an audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import page_verdicts
from fake_tasks import rows_of, write_task
from steelyard.errors import InputError
from steelyard.lifecycle import check, keep_audit, open_home, weigh, write_report
from steelyard.lifecycle.page import render
from steelyard.lifecycle.page.audit import audit_section
from steelyard.lifecycle.page.slices import slices_section
from steelyard.tasks import load_task


def finding(severity: str, **changes: Any) -> dict[str, Any]:
    return {
        "severity": severity, "code": "copies", "message": "Two <rows> are alike.",
        "remedy": "Fold them.", "evidence": [], "figures": {},
    } | changes  # fmt: skip


def audit(*findings: Any) -> dict[str, Any]:
    return {"audit": {"findings": list(findings), "places": {"r1": "rows.jsonl:1"}}}


def test_findings_carry_their_rows_and_remedy_and_notes_are_behind_a_fold() -> None:
    evidence = ["r1", *(f"x{n}" for n in range(9))]
    drawn = audit_section(audit(finding("severe", evidence=evidence), finding("note")))
    assert "1 finding to look at, 1 note." in drawn
    assert "Two &lt;rows&gt; are alike." in drawn
    assert "Rows: r1 (rows.jsonl:1), x0, x1, x2, x3 and 5 more" in drawn
    assert drawn.count("→ Fold them.") == 1  # of the severe one
    assert drawn.index("Show 1 note") > drawn.index("severe")


def test_no_findings_are_said_to_be_none_and_no_audit_is_no_section() -> None:
    assert "Nothing severe and nothing to warn of." in audit_section(audit(finding("note")))
    assert audit_section({}) == ""
    assert 'id="audit"' not in render(page_verdicts.labels())


def sliced(p: float) -> dict[str, Any]:
    pieces = [
        {"value": "<south>", "score": 0.5, "interval": [0.4, 0.6], "num_examples": 40},
        {"value": "north", "score": 0.75, "interval": [0.7, 0.8], "num_examples": 1},
    ]
    column = {"column": "region", "gap": 0.25, "p_adjusted": p, "slices": pieces}
    return {"recipe": "lora", "columns": [column]}


def test_slices_are_drawn_and_a_gap_beyond_chance_is_marked() -> None:
    verdict = page_verdicts.labels()
    drawn = slices_section(verdict | {"slices": [sliced(0.01)]})
    assert "gap 0.250, p 0.010" in drawn
    assert "beyond chance" in drawn
    assert "&lt;south&gt;" in drawn
    assert "1 row<" in drawn
    assert drawn.count('class="dot ') == 2
    assert "beyond chance" not in slices_section(verdict | {"slices": [sliced(0.2)]})
    assert slices_section(verdict) == ""


def test_the_report_of_a_task_that_was_checked_holds_the_audit(tmp_path: Path) -> None:
    rows = [r | {"region": "ab"[n % 2]} for n, r in enumerate(rows_of("label", 120))]
    rows[9]["text"] += " write to ann@x.org"
    task = load_task(write_task(tmp_path, rows=rows))
    keep_audit(tmp_path / "home", check(task).to_json())
    verdict = weigh(task, home=tmp_path / "home", recipes=["nearest-shot"]).to_json()
    assert "audit" not in verdict
    systems = {one["recipe"]: one["columns"] for one in verdict["slices"]}
    assert set(systems) == {verdict["chosen"] or verdict["prefer"], verdict["baseline"]} - {None}
    assert any(c["column"] == "region" for columns in systems.values() for c in columns)
    with open_home(tmp_path / "home") as home:
        files = write_report(home, verdict)
        other = write_report(home, verdict | {"task_hash": "0" * 64})
    codes = {f["code"] for f in json.loads(files.json.read_text("utf-8"))["audit"]["findings"]}
    assert "personal-email" in codes
    assert "personal-email" in files.html.read_text("utf-8")
    assert "audit" not in json.loads(other.json.read_text("utf-8"))


def test_an_audit_that_cannot_be_kept_says_where(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file", encoding="utf-8")
    with pytest.raises(InputError, match=r"audits.*cannot be kept"):
        keep_audit(tmp_path / "home", {"task_hash": "0" * 64})

"""The verb check over real files, and over the system that a verdict chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fake_tasks import rows_of, write_task
from steelyard import check, weigh
from steelyard.core import ModelSpec
from steelyard.errors import HomeError, InputError
from steelyard.tasks import load_task


def test_an_audit_has_a_finding_for_what_is_wrong_and_places_for_its_evidence(tmp_path):
    rows = rows_of("label", 120)
    rows[7] = {**rows[3], "target": "login" if rows[3]["target"] != "login" else "billing"}
    rows[9]["text"] += " write to ann@x.org"
    audit = check(load_task(write_task(tmp_path, rows=rows)))
    found = {finding.code: finding for finding in audit.findings}
    assert found["conflicting-targets"].evidence == ("row-4", "row-8")
    assert found["personal-email"].evidence == ("row-10",)
    assert audit.places["row-10"].endswith("rows.jsonl:10")
    assert {"label-balance", "languages", "lengths", "what-can-be-told"} <= set(found)
    assert audit.splits == {"train": 72, "dev": 24, "test": 24}


def test_the_result_is_plain_json(tmp_path):
    audit = check(load_task(write_task(tmp_path)))
    body = json.loads(json.dumps(audit.to_json()))
    assert set(body) == {"task", "task_hash", "splits", "findings", "places"}
    for finding in body["findings"]:
        assert set(finding) == {"severity", "code", "message", "remedy", "evidence", "figures"}
        assert finding["message"].endswith((".", "?"))


def test_a_task_in_memory_is_checked_as_far_as_it_goes():
    from fake_tasks import example, make_task
    from steelyard.core import Output

    rows = [example(f"e{n}", f"text {n}", "ab"[n % 2]) for n in range(30)]
    dev, test = tuple(rows[20:25]), tuple(rows[25:])
    task = make_task(rows[:20], Output("label", ("a", "b")), dev=dev, test=test)
    codes = {finding.code for finding in check(task).findings}
    assert "label-balance" in codes
    assert "copies" not in codes
    with pytest.raises(InputError, match="the task has no file"):
        check(task, fix=Path("clean"))


def test_inputs_that_do_not_fit_the_model_are_told(tmp_path):
    rows = rows_of("label", 60)
    rows[5]["text"] = "word " * 5000
    audit = check(load_task(write_task(tmp_path, rows=rows)))
    [found] = [f for f in audit.findings if f.code == "too-long"]
    assert found.evidence == ("row-6",)
    assert found.severity == "warning"


def test_a_model_that_is_not_here_leaves_a_note_and_the_rest_is_checked(tmp_path):
    import dataclasses

    task = load_task(write_task(tmp_path))
    task = dataclasses.replace(task, models=(ModelSpec("far", "far", url="https://x.example/v1"),))
    found = {f.code: f for f in check(task).findings}
    assert "a model by URL" in found["lengths-not-measured"].message
    assert "label-balance" in found


def test_the_chosen_system_and_its_baseline_are_audited_from_what_was_measured(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rows = [
        {**row, "text": f"{'she' if n % 2 else 'he'} says {row['text']}", "shop": f"s{n % 2}"}
        for n, row in enumerate(rows_of("label", 200))
    ]
    task = load_task(write_task(tmp_path, rows=rows))
    with pytest.raises(HomeError, match="no home folder there"):
        check(task, chosen=True)
    verdict = weigh(task, recipes=["nearest-shot"])
    audit = check(task, chosen=True)
    swapped = [f for f in audit.findings if f.code == "flips-by-gender"]
    assert {f.figures["system"] for f in swapped} == {verdict.chosen, verdict.baseline} - {None}
    assert all(f.figures["asked"] == len(task.dev) for f in swapped)
    sliced = [f for f in audit.findings if f.code == "slices"]
    columns = {c["column"] for f in sliced for c in f.figures["columns"]}
    assert "shop" in columns

"""bench/results.py: five data sets become tasks, and what is kept of them one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench_scripts import load_script
from steelyard.recipes import presets
from steelyard.tasks import load_task

pytest.importorskip("torch")

load_script("knowledge_bases")
load_script("rounds")
sets = load_script("result_sets")
page = load_script("result_page")
results = load_script("results")

INTENTS = ("lost_card", "new_card", "top_up")


def put(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def resume(split: str, n: int) -> dict[str, Any]:
    details = {
        "name": f"P{n}", "email": None if n % 2 else f"p{n}@example.org", "phone": None,
        "location": "Rome", "skills": ["welding"], "certifications": [], "languages": [],
        "experience": [{"title": "welder", "company": "X", "start_year": 2001, "end_year": None}],
        "education": [{"degree": "BA", "field": "F", "institution": "I", "year": 2000}],
    }  # fmt: skip
    return {"id": f"{split}-{n}", "text": f"P{n} of {split}, welder.", "output": details}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Stand-ins for the published files: their columns, and rows of our own."""
    root = tmp_path / "data"
    for split in ("train", "validation", "test"):
        put(root / "resumes_synth", split, [resume(split, n) for n in range(60)])
        texts = [
            {"id": f"{split}-{n}", "en": f"Save {n} in {split}", "de": f"Sichere {n} in {split}"}
            for n in range(60)
        ]
        put(root / "ui_l10n", split, [*texts, {"id": "none", "en": "Print", "de": None}])
    for split in ("train", "test"):
        rows = [
            {"id": f"{split}-{n}", "text": f"{split} message {n}", "label": INTENTS[n % 3]}
            for n in range(240)
        ]
        put(root / "banking77", split, rows)
        slots = [
            {**row, "output": {"intent": row["label"], "slots": {INTENTS[n % 3][:3]: str(n)}}}
            for n, row in enumerate(rows)
        ]
        put(root / "snips", split, slots)
    documents = [{"doc_id": f"d{n}", "title": "", "text": f"It is {n}."} for n in range(50)]
    asked = [
        {"id": f"q{n}", "question": f"What is {n}?", "answers": [str(n)],
         "gold_doc_ids": [f"d{n // 2}"]}
        for n in range(80)
    ]  # fmt: skip
    put(root / "squad1k", "corpus", documents)
    put(root / "squad1k", "validation", asked)
    return root


@pytest.mark.parametrize("name", sets.DATA_SETS)
def test_every_set_is_a_task_that_its_recipes_fit(
    name: str, published: Path, tmp_path: Path
) -> None:
    data = sets.DATA_SETS[name]
    task = load_task(data.prepare(published / name, tmp_path, data.small))
    assert task.name == name
    assert {*data.recipes, *data.small_recipes, *data.four} <= set(presets(task))
    small = data.small
    count = small.train + small.dev + small.test
    sizes = [len(task.train), len(task.dev), len(task.test)]
    if name == "squad1k":
        assert sum(sizes) == count
        paragraphs = [{e.evidence for e in rows} for rows in (task.train, task.dev, task.test)]
        assert not paragraphs[0] & paragraphs[1]
        assert not paragraphs[1] & paragraphs[2]
    else:
        assert sizes == [small.train, small.dev, small.test]


def test_train_and_dev_of_one_file_share_no_row_and_more_dev_moves_no_train(
    published: Path,
) -> None:
    file = published / "banking77" / "train.jsonl"
    train, dev = sets.drawn(file, 100, 40)
    more, longer = sets.drawn(file, 150, 60)
    ids = [{row["id"] for row in rows} for rows in (train, dev)]
    assert not ids[0] & ids[1]
    assert more[:100] == train
    assert longer[-40:] == dev
    with pytest.raises(ValueError, match="250 rows are wanted and there are 240"):
        sets.drawn(file, 200, 50)


def test_rows_that_were_not_translated_are_left_out(published: Path) -> None:
    (rows,) = sets.drawn(published / "ui_l10n" / "train.jsonl", 60, target="de")
    assert all(row["de"] for row in rows)


def test_what_is_kept_is_a_page_and_is_not_weighed_again(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep, written = tmp_path / "keep", tmp_path / "results.md"
    call = [str(published), "--small", "--model", "fake", "--keep", str(keep)]
    call += ["--page", str(written)]
    results.main([*call, "--only", "resumes_synth"])
    record = json.loads((keep / "small" / "resumes_synth.json").read_text("utf-8"))
    verdict = record["verdict"]
    assert verdict["splits"] == {"train": 24, "dev": 12, "test": 8}
    assert set(record["four"]) == {"zero-shot", "zero-shot+constrained"}
    assert record["four"]["zero-shot"]["num_examples"] == 12
    text = written.read_text("utf-8")
    done, most = verdict["evaluations"]["done"], verdict["evaluations"]["all"]
    assert f"- Evaluations: {done} of {most} ({done / most:.1%})." in text
    assert verdict["reason"] in text
    assert "Not weighed yet: banking77, snips, squad1k, ui_l10n." in text
    assert "**Few rows: this proves nothing.**" in text
    for data_note in sets.DATA_SETS["resumes_synth"].notes:
        assert f"- {data_note}" in text
    capsys.readouterr()
    results.main([*call, "--only", "resumes_synth"])
    assert "resumes_synth is kept" in capsys.readouterr().err
    assert written.read_text("utf-8") == text


def test_a_goal_is_judged_by_the_sealed_test_of_the_recipe_to_use() -> None:
    tested = {"score": 0.91, "details": {"valid": 0.985}, "interval": [0.9, 0.92]}
    verdict = {
        "outcome": "chosen", "chosen": "lora", "prefer": None,
        "recipes": [{"name": "lora", "test": tested}, {"name": "zero-shot", "test": None}],
    }  # fmt: skip
    score, valid = sets.Goal("score", 0.9), sets.Goal("valid", 0.99)
    said = "Goal: `score` at least 0.90 on test: `lora` 0.910, met."
    assert page.reached(verdict, score) == said
    assert page.reached(verdict, valid).endswith("`lora` 0.985, not met.")
    verdict["chosen"] = "zero-shot"
    assert page.reached(verdict, score).endswith("on test: not measured.")
    verdict["chosen"] = None
    assert page.reached(verdict, score).endswith("on test: not measured.")


def test_a_recipe_that_never_overtakes_is_not_told() -> None:
    pairs = [
        {"a": "lora", "b": "few-shot", "calls": 1234.5, "interval": [900.4, None]},
        {"a": "lora", "b": "head", "calls": None, "interval": None},
        {"a": "full", "b": "few-shot", "calls": 10.0, "interval": None},
    ]
    verdict = {
        "outcome": "chosen", "chosen": "lora", "prefer": None, "break_even": pairs,
        "diagnostics": [], "evaluations": {"done": 30, "all": 120},
        "recipes": [{"name": "few-shot", "status": "eliminated", "why": "dropped after 20"}],
    }  # fmt: skip
    assert list(page.sentences(verdict, ())) == [
        "Evaluations: 30 of 120 (25.0%).",
        "`few-shot` eliminated: dropped after 20.",
        "`lora` has cost less than `few-shot` after 1,234 calls [900, never].",
    ]

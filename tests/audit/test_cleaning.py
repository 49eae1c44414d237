"""The cleaned copy loads, has no copies and no personal data, and the source is as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import rows_of, task_text, write_rows, write_task
from steelyard.audit.cleaning import dropped, write_clean
from steelyard.audit.personal import find, texts_of
from steelyard.audit.sheet import read_sheet
from steelyard.errors import InputError, WorkError
from steelyard.tasks import load_task

SUBJECTS = str.split(
    "parcel harbour kettle garden invoice ladder meadow orchard pebble quarry saddle timber velvet "
    "walnut anchor basket candle dragon engine feather glacier hammer island jacket lantern mirror "
    "needle oyster pillow rabbit sailor tunnel umbrella violin window yellow zebra bottle carpet "
    "diamond"
)


def dirty_rows() -> list[dict[str, Any]]:
    """Forty different tickets, a copy, a near copy, and two with personal data."""
    rows = [
        {"text": f"the {word} is {other} and nobody {third}", "target": "ab"[n % 2], "note": "x"}
        for n, (word, other, third) in enumerate(
            zip(SUBJECTS, SUBJECTS[7:] + SUBJECTS[:7], SUBJECTS[19:] + SUBJECTS[:19], strict=True)
        )
    ]
    rows += [rows[0], {**rows[1], "text": rows[1]["text"].upper() + "!"}]
    rows += [
        {"text": "write to ann@x.org about the kiosk", "target": "a", "note": "from ann@x.org"},
        {"text": "the fountain is at +44 20 7946 0382", "target": "b", "note": "Ann@x.org"},
    ]
    return rows


def digest_of(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_copy_is_clean_loads_and_says_what_was_done(tmp_path):
    path = write_task(tmp_path / "mine", rows=dirty_rows())
    before = digest_of(tmp_path / "mine")
    changes = write_clean(read_sheet(load_task(path)), tmp_path / "clean")
    assert digest_of(tmp_path / "mine") == before

    clean = load_task(tmp_path / "clean" / "task.toml")
    rows = [e for split in ("train", "dev", "test") for e in clean.split(split)]
    assert len(rows) == 42
    assert not [one for e in rows for text in texts_of(e) for one in find(text)]
    sheet = read_sheet(clean)
    assert (sheet.pairs, sheet.copies) == ([], ())

    lines = (tmp_path / "clean" / "changes.jsonl").read_text(encoding="utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    assert log == changes
    assert [(c["action"], c.get("why")) for c in log if c["action"] == "dropped"] == [
        ("dropped", "copy"),
        ("dropped", "near copy"),
    ]
    redacted = [c for c in log if c["action"] == "redacted"]
    assert [(c["where"].rpartition(":")[2], c["column"], c["as"]) for c in redacted] == [
        ("43", "text", ["[EMAIL_1]"]),
        ("43", "note", ["[EMAIL_1]"]),
        ("44", "text", ["[PHONE_1]"]),
        ("44", "note", ["[EMAIL_1]"]),
    ]
    assert "ann@x.org" not in "".join(lines).casefold()
    assert not (tmp_path / "clean.part").exists()


def test_with_given_splits_only_what_leaks_is_left_out(tmp_path):
    rows = dirty_rows()[:40]
    near = {**rows[5], "text": rows[5]["text"] + " !"}
    path = write_task(tmp_path, rows=[*rows[:20], near])
    write_rows(tmp_path / "dev.jsonl", [*rows[20:30], {**rows[2], "text": rows[2]["text"] + "?"}])
    write_rows(tmp_path / "test.jsonl", rows[30:])
    text = path.read_text(encoding="utf-8").replace(
        'files = ["rows.jsonl"]', 'train = "rows.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"'
    )
    path.write_text(text, encoding="utf-8")
    found = dropped(read_sheet(load_task(path)))
    assert {where.rpartition("/")[2]: c["of"] for where, c in found.items()} == {
        "rows.jsonl:3": "row-32"
    }


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "parquet"])
def test_every_type_of_file_is_written_as_it_was_read(tmp_path, ending):
    rows = dirty_rows()
    name = f"rows.{ending}"
    (tmp_path / "mine").mkdir()
    _write_as(tmp_path / "mine" / name, rows)
    path = tmp_path / "mine" / "task.toml"
    path.write_text(task_text(file=name), encoding="utf-8")
    write_clean(read_sheet(load_task(path)), tmp_path / "clean")
    assert (tmp_path / "clean" / name).is_file()
    clean = load_task(tmp_path / "clean" / "task.toml")
    assert len(clean.train) + len(clean.dev) + len(clean.test) == 42


def _write_as(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix in (".csv", ".tsv"):
        between = {".csv": ",", ".tsv": "\t"}[path.suffix]
        cells = [["text", "target", "note"], *([r["text"], r["target"], r["note"]] for r in rows)]
        lines = [between.join(map(str, own)) for own in cells]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)


def test_paths_outside_the_folder_hold_from_the_copy(tmp_path):
    (tmp_path / "mine").mkdir()
    write_rows(tmp_path / "rows.jsonl", dirty_rows())
    (tmp_path / "faq").mkdir()
    (tmp_path / "faq" / "a.md").write_text("Ask.", encoding="utf-8")
    path = tmp_path / "mine" / "task.toml"
    text = task_text(file="../rows.jsonl") + '[knowledge]\ndocuments = ["../faq"]\n'
    path.write_text(text, encoding="utf-8")
    write_clean(read_sheet(load_task(path)), tmp_path / "deep" / "clean")
    task = load_task(tmp_path / "deep" / "clean" / "task.toml")
    assert [p.resolve() for p in task.knowledge.documents] == [tmp_path / "faq"]
    assert (tmp_path / "deep" / "clean" / "rows.jsonl").is_file()


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    path = write_task(tmp_path, rows=dirty_rows())
    with pytest.raises(InputError, match="it is there already"):
        write_clean(read_sheet(load_task(path)), tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="it is there already"):
        write_clean(read_sheet(load_task(path)), tmp_path / "file")


def test_what_is_left_must_be_a_task_or_nothing_is_written(tmp_path):
    row = rows_of("label", 1)[0]
    rows = [{**row, "text": f"{row['text']}{'!' * n}", "target": "ab"[n % 2]} for n in range(30)]
    path = write_task(tmp_path / "mine", rows=rows)
    with pytest.raises(WorkError, match="what is left after cleaning is no task"):
        write_clean(read_sheet(load_task(path)), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
    assert not (tmp_path / "clean.part").exists()

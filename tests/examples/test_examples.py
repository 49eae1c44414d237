"""The examples are what their generators write, and what their pages promise."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("resumes", "tickets", "rewrite")
SPLITS = ("train", "dev", "test")
EMAIL = re.compile(r"[\w.]+(?:@| \(at\) )([\w.]+\w)")
FICTIONAL_PHONE = re.compile(
    r"\+44(2079460|1134960|1214960|1314960|1414960|1614960|7700900)\d{3}|\+1\d{3}55501\d\d"
)


def generate(name: str, *arguments: str | Path) -> None:
    if name == "resumes":
        pytest.importorskip("faker", reason="the resumes' names come from Faker")
    script = EXAMPLES / name / "generate.py"
    subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def resumes() -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in rows(EXAMPLES / "resumes", split)]


def tickets() -> list[dict[str, str]]:
    with (EXAMPLES / "tickets" / "tickets.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["resumes", "rewrite"])
def test_the_committed_rows_are_the_generators_own(name: str, tmp_path: Path) -> None:
    generate(name, "--out", tmp_path)
    for split in SPLITS:
        committed = (EXAMPLES / name / f"{split}.jsonl").read_bytes()
        assert (tmp_path / f"{split}.jsonl").read_bytes() == committed


def test_the_committed_tickets_are_the_generators_own(tmp_path: Path) -> None:
    generate("tickets", "--out", tmp_path / "tickets.csv")
    committed = (EXAMPLES / "tickets" / "tickets.csv").read_bytes()
    assert (tmp_path / "tickets.csv").read_bytes() == committed


def test_another_seed_gives_other_people_and_the_counts_asked_for(tmp_path: Path) -> None:
    generate(
        "resumes", "--seed", "8", "--train", "5", "--dev", "2", "--test", "3", "--out", tmp_path
    )
    assert [len(rows(tmp_path, split)) for split in SPLITS] == [5, 2, 3]
    known = {row["output"]["name"] for row in resumes()}
    drawn = {row["output"]["name"] for split in SPLITS for row in rows(tmp_path, split)}
    assert not known & drawn


@pytest.mark.parametrize("name", NAMES)
def test_a_task_file_names_files_and_columns_that_exist(name: str) -> None:
    task = tomllib.loads((EXAMPLES / name / "task.toml").read_text(encoding="utf-8"))
    data = task["data"]
    files = data.get("files") or [data[split] for split in SPLITS]
    assert all((EXAMPLES / name / file).is_file() for file in files)
    row = tickets()[0] if name == "tickets" else rows(EXAMPLES / name, "train")[0]
    assert {data[key] for key in ("input", "target", "group") if key in data} <= set(row)


def test_the_resumes_are_as_many_and_as_short_as_promised() -> None:
    sizes = [len(rows(EXAMPLES / "resumes", split)) for split in SPLITS]
    assert sizes == [240, 80, 160]
    words = [len(row["text"].split()) for row in resumes()]
    assert min(words) >= 50
    assert max(words) <= 100


def test_every_resume_target_fits_the_schema() -> None:
    schema = json.loads((EXAMPLES / "resumes" / "resume.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert [
        error.message for row in resumes() for error in validator.iter_errors(row["output"])
    ] == []


@pytest.mark.parametrize("field", ["name", "email", "phone"])
def test_nobody_appears_twice_in_the_resumes(field: str) -> None:
    values = [row["output"][field] for row in resumes() if row["output"][field] is not None]
    assert len(values) > 300
    assert len(set(values)) == len(values)


def test_resume_addresses_and_numbers_can_belong_to_nobody() -> None:
    for row in resumes():
        written = EMAIL.findall(row["text"])
        assert len(written) == (row["output"]["email"] is not None)
        assert set(written) <= {"example.com", "example.org", "example.net"}
        phone = row["output"]["phone"]
        assert phone is None or FICTIONAL_PHONE.fullmatch(phone)


def test_every_split_of_the_resumes_has_every_seniority_and_missing_values() -> None:
    for split in SPLITS:
        targets = [row["output"] for row in rows(EXAMPLES / "resumes", split)]
        counts = Counter(target["seniority"] for target in targets)
        assert set(counts) == {"S1", "S2", "M1", "M2"}
        assert max(counts.values()) < len(targets) / 2
        assert any(target["email"] is None for target in targets)
        assert any(target["phone"] is None for target in targets)


def test_the_tickets_have_eight_queues_and_customers_who_write_again() -> None:
    found = tickets()
    assert len(found) == len({row["message"] for row in found}) == 600
    queues = Counter(row["queue"] for row in found)
    assert len(queues) == 8
    assert min(queues.values()) >= 40
    assert max(Counter(row["customer"] for row in found).values()) > 1


def test_no_changelog_line_is_in_two_splits_of_the_rewrites() -> None:
    sizes = [len(rows(EXAMPLES / "rewrite", split)) for split in SPLITS]
    assert sizes == [200, 60, 120]
    lines = [row["line"] for split in SPLITS for row in rows(EXAMPLES / "rewrite", split)]
    assert len(set(lines)) == len(lines)

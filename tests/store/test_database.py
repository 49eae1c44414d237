"""Rows, builds and verdicts come back as they were written, whole batches or none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import row
from steelyard.core import Answer, Row, Score, Section, Source, Usage
from steelyard.store import Database, TrialRef

TRIAL = TrialRef("t" * 64, "lora", "s" * 64, "dev", 0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "steelyard.db")
    yield opened
    opened.close()


def verdict(task: str = "small", **more: object) -> dict[str, object]:
    return {"task": task, "task_hash": "h" * 64, "outcome": "chosen", **more}


# ---------------------------------------------------------------- rows

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
answers = st.builds(
    Answer,
    value=values,
    text=texts,
    valid=st.booleans(),
    usage=st.builds(Usage, st.integers(0), st.integers(0), st.integers(0)),
    error=st.none() | texts,
    sources=st.none() | st.tuples(st.builds(Source, texts, texts, texts)),
    left_out=st.tuples(texts),
    sections=st.tuples() | st.tuples(st.builds(Section, texts, texts, st.just((1, 2)))),
)
rows = st.builds(
    Row,
    example_id=texts,
    group=texts,
    answer=answers,
    score=st.none() | st.builds(Score, st.floats(0, 1), st.dictionaries(texts, values, max_size=2)),
    compute_ms=numbers,
    cost_usd=numbers,
    batch_size=st.integers(1, 64),
    latency_ms=st.none() | numbers,
)


@settings(max_examples=40)
@given(written=st.lists(rows, min_size=1, max_size=4, unique_by=lambda r: r.example_id))
def test_rows_come_back_exactly_as_they_were_written(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "steelyard.db"
    first = Database(path)
    first.add_rows(TRIAL, written)
    first.close()
    again = Database(path)
    assert again.rows(TRIAL) == {r.example_id: r for r in written}
    again.close()


def test_a_row_that_is_there_is_never_changed(database):
    database.add_rows(TRIAL, [row("e1", 1.0), row("e2", 0.0)])
    database.add_rows(TRIAL, [row("e2", 1.0), row("e3", 0.5)])
    found = database.rows(TRIAL)
    assert {name: r.score.value for name, r in found.items()} == {"e1": 1.0, "e2": 0.0, "e3": 0.5}


def test_a_row_that_failed_gives_way_to_one_that_did_not(database):
    failed = replace(row("e1", answer=Answer(error="timed out")), score=None)
    database.add_rows(TRIAL, [failed])
    database.add_rows(TRIAL, [row("e1", 1.0)])
    database.add_rows(TRIAL, [failed])
    assert database.rows(TRIAL) == {"e1": row("e1", 1.0)}


def test_a_batch_is_written_whole_or_not_at_all(database):
    broken = row("e2", answer=Answer({"a": object()}))
    with pytest.raises(TypeError):
        database.add_rows(TRIAL, [row("e1"), broken])
    assert database.rows(TRIAL) == {}
    halved = row("e2", answer=Answer("\ud800"))  # SQLite takes no half character
    with pytest.raises(UnicodeEncodeError):
        database.add_rows(TRIAL, [row("e1"), halved, row("e3")])
    assert database.rows(TRIAL) == {}
    assert database.test_looks(TRIAL.task_hash) == 0
    database.add_rows(TRIAL, [row("e1")])
    assert list(database.rows(TRIAL)) == ["e1"]


@pytest.mark.parametrize(
    "other",
    [
        TrialRef("u" * 64, "lora", "s" * 64, "dev", 0),
        TrialRef("t" * 64, "few-shot", "s" * 64, "dev", 0),
        TrialRef("t" * 64, "lora", "r" * 64, "dev", 0),
        TrialRef("t" * 64, "lora", "s" * 64, "test", 0),
        TrialRef("t" * 64, "lora", "s" * 64, "dev", 1),
    ],
)
def test_rows_belong_to_one_task_recipe_system_split_and_seed(database, other):
    database.add_rows(TRIAL, [row("e1")])
    assert database.rows(other) == {}
    assert other.key != TRIAL.key


def test_what_was_written_is_there_for_another_process_at_once(database, tmp_path):
    database.add_rows(TRIAL, [row("e1", 0.25)])
    reader = sqlite3.connect(tmp_path / "steelyard.db")
    [(body,)] = reader.execute("SELECT row FROM answer").fetchall()
    mode = reader.execute("PRAGMA journal_mode").fetchone()[0]
    reader.close()
    assert json.loads(body)["score"]["value"] == 0.25
    assert mode == "wal"


# ---------------------------------------------------------------- looks at the test split


def test_each_system_that_was_measured_on_test_is_one_look(database):
    def look(recipe: str, split: str = "test", seed: int = 0, task: str = TRIAL.task_hash) -> None:
        ref = TrialRef(task, recipe, "s" * 64, split, seed)  # type: ignore[arg-type]
        database.add_rows(ref, [row("e1")])
        database.add_rows(ref, [row("e2")])

    assert database.test_looks(TRIAL.task_hash) == 0
    look("lora", "dev")
    assert database.test_looks(TRIAL.task_hash) == 0
    look("lora")
    look("zero-shot")
    look("lora")
    assert database.test_looks(TRIAL.task_hash) == 2
    look("lora", seed=1)
    look("lora", task="u" * 64)
    assert database.test_looks(TRIAL.task_hash) == 3


# ---------------------------------------------------------------- builds


def test_the_first_build_of_a_key_stays_until_it_is_forgotten(database):
    assert database.build("k") is None
    database.add_build("k", "a" * 64, 1.5, {"points": [1]})
    database.add_build("k", "b" * 64, 9.0, None)
    assert database.build("k") == ("a" * 64, 1.5, {"points": [1]})
    database.forget_build("k")
    assert database.build("k") is None
    database.add_build("k", None, 0.0, None)
    assert database.build("k") == (None, 0.0, None)


# ---------------------------------------------------------------- verdicts


def test_verdicts_come_newest_first_and_a_run_replaces_its_own(database):
    database.add_verdict("run1", verdict(seed=1))
    database.add_verdict("run2", verdict(seed=2))
    database.add_verdict("run1", verdict(seed=1, note="again"))
    found = database.verdicts()
    assert [v["body"] for v in found] == [verdict(seed=1, note="again"), verdict(seed=2)]
    assert found[0]["task_name"] == "small"
    assert found[0]["task_hash"] == "h" * 64
    assert found[0]["id"] > found[1]["id"]


def test_an_empty_home_has_no_verdicts(database):
    assert database.verdicts() == []

"""Fine-tuning jobs as rows: one ending for each, and what is told once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard.store import Database
from steelyard.store.files import Files, StoredFile, new_id
from steelyard.store.tuning import Tuning
from steelyard.store.vector_stores import VectorStores


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "steelyard.db")
    yield opened
    opened.close()


def test_a_job_ends_once_whoever_comes_first(database):
    tuning = Tuning(database.engine)
    job = tuning.add("ftjob-1", "ft:a", {"seed": 0})
    assert (job.status, job.asked, job.result, job.ended_at) == ("queued", {"seed": 0}, {}, None)
    assert tuning.move(job.id, "running", of=("queued",))
    assert not tuning.move(job.id, "running", of=("queued",))
    assert tuning.move(job.id, "cancelled")
    assert not tuning.move(job.id, "succeeded", result={"artefact": "x"})
    found = tuning.find(job.id)
    assert found is not None
    assert (found.status, found.result) == ("cancelled", {})
    assert found.ended_at is not None
    assert tuning.find("ftjob-2") is None


def test_jobs_are_listed_by_status_the_newest_first(database):
    tuning = Tuning(database.engine)
    for number in range(3):
        tuning.add(f"ftjob-{number}", f"ft:{number}", {})
    tuning.move("ftjob-1", "running")
    assert [job.id for job in tuning.all()] == ["ftjob-2", "ftjob-1", "ftjob-0"]
    assert [job.id for job in tuning.all("queued")] == ["ftjob-2", "ftjob-0"]
    assert [job.id for job in tuning.all("running", "failed")] == ["ftjob-1"]


def test_an_event_with_a_mark_is_told_once_and_any_other_as_often_as_it_comes(database):
    tuning = Tuning(database.engine)
    for loss in (0.5, 0.4):
        tuning.tell("ftjob-1", "step", data={"loss": loss}, mark="step 1")
        tuning.tell("ftjob-1", "again", level="warn")
    tuning.tell("ftjob-2", "step", mark="step 1")
    events = tuning.events("ftjob-1")
    assert [event.message for event in events] == ["again", "again", "step"]
    assert (events[-1].data, events[0].level) == ({"loss": 0.5}, "warn")


def test_an_id_is_new_every_time_and_finds_its_file(database):
    files = Files(database.engine)
    ids = {new_id("file-") for _ in range(100)}
    assert len(ids) == 100
    files.add(StoredFile("file-1", "a.txt", "assistants", 3, "2026-01-01T00:00:00+00:00"))
    found = files.find("file-1")
    assert found is not None
    assert (found.name, found.size_bytes) == ("a.txt", 3)
    assert files.all("fine-tune") == []
    assert files.remove("file-1")
    assert not files.remove("file-1")


def test_a_file_that_was_taken_out_meanwhile_does_not_end(database):
    stores = VectorStores(database.engine)
    store = stores.add("vs_1", "x", {})
    stores.put(store.id, "file-1", {"a": 1}, batch="b")
    [member] = stores.members(store.id)
    assert (member.status, member.attributes, member.batch) == ("in_progress", {"a": 1}, "b")
    assert stores.end(member, "failed", error="no text")
    stores.put(store.id, "file-1", {})
    [again] = stores.members(file="file-1")
    assert (again.status, again.error) == ("in_progress", None)
    assert stores.take_out(store.id, "file-1")
    assert not stores.end(again, "completed")
    stores.remove(store.id)
    assert stores.find(store.id) is None

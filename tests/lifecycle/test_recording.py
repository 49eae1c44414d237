"""Requests are written beside their answers; feedback before it is acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from steelyard.errors import WorkError
from steelyard.lifecycle import recording
from steelyard.lifecycle.recording import Recorder, Retention
from steelyard.store.traffic import Feedback, Outcome, Request, Traffic

ASKED = Request("r1", "people@1", "/v1/x", "ann", "key-1", "I am ann@x.com", "2026-05-01T00:00:00")
SAID = Outcome("r1", "call ann@x.com", None, True, 7, 2, 3, None, 1.5)


class Clocks:
    """Two clocks that only move when they are told to."""

    def __init__(self) -> None:
        self.now, self.ticks = datetime(2026, 5, 1, tzinfo=UTC), 0.0

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.ticks += seconds


@pytest.fixture
def traffic(tmp_path: Path) -> Iterator[Traffic]:
    opened = Traffic(tmp_path / "traffic.db")
    yield opened
    opened.close()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def record(traffic: Traffic, clocks: Clocks) -> Iterator[Callable[..., Recorder]]:
    with ExitStack() as stack:

        def start(manner: Any = "all", keep_days: float | None = None) -> Recorder:
            made = Recorder(
                traffic,
                Retention(manner, keep_days),
                now=lambda: clocks.now,
                monotonic=lambda: clocks.ticks,
            )
            stack.callback(made.close, 5)
            return made

        yield start


def written(recorder: Recorder) -> Any:
    recorder.flush().result(5)
    return recorder.traffic.request("r1")


@pytest.mark.parametrize(
    ("manner", "input_text", "answer"),
    [
        ("all", "I am ann@x.com", "call ann@x.com"),
        ("redacted", "I am [EMAIL_1]", "call [EMAIL_1]"),
        ("none", None, None),
    ],
)
def test_a_request_is_a_row_with_as_much_text_as_is_kept(record, manner, input_text, answer):
    recorder = record(manner)
    recorder.begin(ASKED)
    recorder.end(SAID)
    row = written(recorder)
    assert (row["input"], row["answer"], row["release"]) == (input_text, answer, "people@1")
    counts = [row[f"{kind}_tokens"] for kind in ("prompt", "cached", "completion")]
    assert (counts, row["valid"], row["milliseconds"]) == ([7, 2, 3], 1, 1.5)


def test_a_request_is_there_before_it_has_an_answer(record):
    recorder = record()
    recorder.begin(ASKED)
    row = written(recorder)
    assert (row["input"], row["answer"], row["milliseconds"]) == ("I am ann@x.com", None, None)


def test_feedback_is_on_disk_when_it_is_done_and_the_same_twice_is_once(record, traffic):
    recorder = record()
    said = Feedback("r1", score=0.5, correction={"a": [1]}, comment="ü", user="ann")
    assert recorder.give(said).result(5) is True
    assert recorder.give(replace(said, created_at="later")).result(5) is False
    assert recorder.give(replace(said, score=0.25)).result(5) is True
    first, second = traffic.feedback(status="waiting")
    assert first.feedback == replace(said, created_at=first.feedback.created_at)
    assert (second.feedback.score, second.input) == (0.25, None)


def test_what_cannot_be_written_is_counted_and_feedback_is_told_so(record, traffic, monkeypatch):
    recorder = record()

    def full(*_: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(recording, "add_requests", full)
    monkeypatch.setattr(recording, "add_feedback", full)
    recorder.begin(ASKED)
    recorder.flush().result(5)
    with pytest.raises(WorkError, match="could not be kept: database or disk is full"):
        recorder.give(Feedback("r1", score=1.0)).result(5)
    assert recorder.lost == 1
    monkeypatch.undo()
    recorder.begin(ASKED)
    assert written(recorder)["input"] == ASKED.input


def test_a_disk_that_stands_still_does_not_fill_memory(record, monkeypatch):
    monkeypatch.setattr(recording, "MOST_QUEUED", 3)
    monkeypatch.setattr(recording, "GATHER_SECONDS", 0.3)
    recorder = record()
    for number in range(10):
        recorder.begin(replace(ASKED, id=f"r{number}"))
    assert recorder.lost >= 6
    recorder.flush().result(5)
    assert recorder.traffic.count() + recorder.lost == 10


def test_old_requests_go_with_what_was_said_to_them(record, traffic, clocks):
    recorder = record(keep_days=1)
    recorder.begin(ASKED)
    recorder.give(Feedback("r1", score=1.0)).result(5)
    clocks.pass_by(2 * 86_400)
    recorder.begin(replace(ASKED, id="r2", began_at="2026-05-02T23:00:00"))
    until(lambda: written(recorder) is None)
    assert traffic.count() == 1
    assert traffic.feedback() == []


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("years", [-50, 50])
def test_a_clock_that_jumps_deletes_nothing(record, traffic, clocks, years):
    recorder = record(keep_days=1)
    recorder.begin(ASKED)
    recorder.flush().result(5)
    clocks.now += timedelta(days=365 * years)
    clocks.ticks += 2 * recording.SWEEP_SECONDS
    for _ in range(2):
        recorder.flush().result(5)
    assert traffic.count() == 1


def test_closing_writes_what_there_is(record, traffic):
    recorder = record()
    recorder.begin(ASKED)
    recorder.end(SAID)
    recorder.close(5)
    assert traffic.request("r1")["answer"] == SAID.answer

"""The thread that answers: in order, together where it can, and nobody spoils it for others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import pytest

from steelyard.errors import BusyError, WorkError
from steelyard.lifecycle.engine import Engine, Work


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(most_waiting=5)
    yield made
    made.close(5)


class Upper:
    """Answers in capitals; waits for `free` first, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.free = threading.Event()
        self.free.set()
        self.began = threading.Event()

    def __call__(self, items: Sequence[str], listen: Any) -> list[str]:
        self.calls.append(list(items))
        self.began.set()
        assert self.free.wait(5)
        for number, item in enumerate(items):
            if item == "bad":
                raise ValueError("bad item")
            for end in range(1, len(item) + 1):
                if listen(number, item[:end].upper()):
                    break
        return [item.upper() for item in items]


def held(engine: Engine, do: Upper) -> Work:
    """A work in the engine's hands, until `do.free` is set."""
    do.free.clear()
    work = Work("a", "first", do)
    engine.submit(work)
    assert do.began.wait(5)
    return work


def test_a_lone_work_is_answered_at_once_and_heard_on_its_way(engine):
    do, heard = Upper(), []
    assert engine.submit(Work("a", "abc", do, told=heard.append)).result(5) == "ABC"
    assert heard == ["A", "AB", "ABC"]


def test_what_waits_for_the_same_is_answered_together_and_others_keep_their_order(engine):
    do = Upper()
    held(engine, do)
    works = [Work(key, item, do) for key, item in (("b", "1"), ("c", "2"), ("b", "3"))]
    futures = [engine.submit(work) for work in works]
    assert engine.num_waiting == 3
    do.free.set()
    assert [future.result(5) for future in futures] == ["1", "2", "3"]
    assert do.calls == [["first"], ["1", "3"], ["2"]]


def test_one_that_fails_does_not_spoil_those_beside_it(engine):
    do = Upper()
    held(engine, do)
    futures = [engine.submit(Work("b", item, do)) for item in ("x", "bad", "y")]
    do.free.set()
    assert (futures[0].result(5), futures[2].result(5)) == ("X", "Y")
    with pytest.raises(ValueError, match="bad item"):
        futures[1].result(5)
    assert engine.submit(Work("b", "after", do)).result(5) == "AFTER"


def test_more_than_may_wait_are_refused(engine):
    do = Upper()
    held(engine, do)
    for _ in range(5):
        engine.submit(Work("b", "x", do))
    with pytest.raises(BusyError, match="5 requests are waiting"):
        engine.submit(Work("b", "x", do))
    do.free.set()


def test_one_whose_caller_left_is_not_begun_and_one_that_runs_is_ended(engine):
    do, heard = Upper(), []
    running = held(engine, do)
    waiting = Work("b", "never", do, told=heard.append)
    future = engine.submit(waiting)
    waiting.leave()
    running.leave()
    do.free.set()
    with pytest.raises(CancelledError):
        future.result(5)
    assert engine.submit(Work("c", "z", do)).result(5) == "Z"
    assert do.calls == [["first"], ["z"]]
    assert heard == []


def test_one_whose_turn_comes_too_late_is_told_so(engine):
    do = Upper()
    held(engine, do)
    late = engine.submit(Work("b", "x", do, deadline=time.monotonic() - 1))
    assert engine.busy_seconds > 0
    do.free.set()
    with pytest.raises(TimeoutError, match="did not come in time"):
        late.result(5)


def test_too_few_answers_are_an_error(engine):
    with pytest.raises(WorkError, match="1 were asked and 0 answered"):
        engine.submit(Work("a", "x", lambda _items, _listen: [])).result(5)


def test_closing_answers_what_waits_and_takes_nothing_more(engine):
    do = Upper()
    held(engine, do)
    future = engine.submit(Work("b", "x", do))
    do.free.set()
    engine.close(5)
    assert future.result(0) == "X"
    with pytest.raises(BusyError, match="takes no more work"):
        engine.submit(Work("b", "x", do))


def test_closing_does_not_wait_for_ever(engine):
    do = Upper()
    held(engine, do)
    future = engine.submit(Work("b", "x", do))
    engine.close(0.05)
    with pytest.raises(BusyError, match="closed before its turn"):
        future.result(0)
    do.free.set()


def test_one_that_is_ended_by_its_deadline_has_no_answer_in_part(engine):
    def slow(items: Sequence[str], listen: Any) -> list[str]:
        while not listen(0, "h"):
            time.sleep(0.01)
        return ["h"]

    work = Work("a", "hello", slow, deadline=time.monotonic() + 0.1)
    with pytest.raises(TimeoutError, match="not done in time"):
        engine.submit(work).result(5)

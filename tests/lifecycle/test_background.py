"""A thread that takes what is to be done: one thing at a time, whatever fails."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest
from sqlalchemy.exc import OperationalError

from steelyard.lifecycle import background
from steelyard.lifecycle.background import Worker


class Todo:
    """Things to do, what was done, and what stands in the way."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.done: list[str] = []
        self.locked = 0
        self.changed = threading.Event()

    def take(self) -> str | None:
        if self.locked:
            self.locked -= 1
            raise OperationalError("SELECT", {}, Exception("disk full"))
        return self.waiting.popleft() if self.waiting else None

    def do(self, item: str) -> None:
        self.done.append(item)
        if not self.waiting:
            self.changed.set()
        if item == "bad":
            raise ValueError("secret words")


@pytest.fixture
def todo() -> Todo:
    return Todo()


def test_what_waits_is_done_in_its_order_and_a_failure_stops_nothing(todo, monkeypatch, caplog):
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)
    todo.waiting.extend(["one", "bad", "two"])
    worker = Worker("todo", todo.take, todo.do)
    worker.start()
    assert todo.changed.wait(10)
    todo.changed.clear()
    todo.waiting.append("three")
    worker.wake()
    assert todo.changed.wait(10)
    worker.close(10)
    assert todo.done == ["one", "bad", "two", "three"]
    assert worker.closing
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_a_database_that_cannot_be_read_is_read_again(todo, monkeypatch, caplog):
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)
    todo.locked, todo.waiting = 2, deque(["one"])
    worker = Worker("todo", todo.take, todo.do)
    worker.start()
    assert todo.changed.wait(10)
    worker.close(10)
    assert todo.done == ["one"]


def test_what_cannot_be_taken_is_tried_again_after_a_pause_and_not_at_once(caplog):
    def take() -> str:
        raise PermissionError

    worker = Worker("todo", take, print)
    worker.start()
    deadline = time.monotonic() + 10
    while not caplog.records:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    worker.close(10)
    assert [record.getMessage() for record in caplog.records] == ["todo failed: PermissionError"]


def test_one_that_was_never_started_closes_at_once(todo):
    Worker("todo", todo.take, todo.do).close(0.1)
    assert todo.done == []

"""The one thread that answers: what waits for the same system is answered together.

submit ─→ waiting ─→ [all that fit together] ─→ do(items) ─→ each work's future
                     a lone one goes at once
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from steelyard.errors import BusyError, WorkError
from steelyard.models import Listen

TOGETHER = (
    64  # works of one call; more rows are no cheaper per row. Source: models/torch_backend.py
)
MOST_WAITING = 256  # Source: ours; at a second each, four minutes of a lone model


@dataclass(eq=False, slots=True)
class Work:
    """Something to be answered. Works of one `key` may be done by one call of `do`.

    `told` hears the text so far, in the engine's thread. `gone` says that nobody waits any more.
    Units: `deadline` is a `time.monotonic()`.
    """

    key: object
    item: Any
    do: Callable[[Sequence[Any], Listen], Sequence[Any]]
    told: Callable[[str], None] | None = None
    deadline: float | None = None
    gone: bool = False
    future: Future[Any] = field(default_factory=Future)

    def leave(self) -> None:
        """Nobody waits for it: it is not begun, or ended at its next token."""
        self.gone = True
        self.future.cancel()


class Engine:
    """Answers works in the order in which they came, together where they can be.

    A call that fails is made again for each of its works alone, so that one cannot spoil others.
    """

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self.most_waiting = most_waiting
        self._waiting: deque[Work] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Any]:
        """Have a work answered.

        Raises:
            BusyError: too many are waiting, or the engine was closed.
        """
        with self._change:
            if self._closed:
                raise BusyError("the engine is closing and takes no more work")
            if len(self._waiting) >= self.most_waiting:
                raise BusyError(
                    f"{len(self._waiting)} requests are waiting, and no more may; try again later"
                )
            self._waiting.append(work)
            self._change.notify()
        return work.future

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def busy_seconds(self) -> float:
        """How long the call that is being made has been running; 0 when there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what waits, then end; after the timeout what is left fails."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join(timeout_s)
        with self._change:
            left, self._waiting = list(self._waiting), deque()
        for work in left:
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(BusyError("the engine was closed before its turn"))

    def _run(self) -> None:
        while (works := self._next()) is not None:
            self._busy_since = time.monotonic()
            _do(works)
            self._busy_since = None

    def _next(self) -> list[Work] | None:
        """The first that waits and those that go with it, in their order; None at the end."""
        with self._change:
            while not self._waiting and not self._closed:
                self._change.wait()
            if not self._waiting:
                return None
            key, left = self._waiting[0].key, deque[Work]()
            taken: list[Work] = []
            for work in self._waiting:
                fits = len(taken) < TOGETHER and work.key == key
                (taken if fits else left).append(work)
            self._waiting = left
        return [work for work in taken if _begins(work)]


def _begins(work: Work) -> bool:
    """Whether a work is still wanted, and in time."""
    if work.gone or not work.future.set_running_or_notify_cancel():
        return False
    if work.deadline is not None and time.monotonic() > work.deadline:
        work.future.set_exception(TimeoutError("its turn did not come in time"))
        return False
    return True


def _do(works: Sequence[Work]) -> None:
    if not works:
        return

    late = set[int]()  # ended by their deadline: what there is of them is no answer

    def listen(number: int, text: str) -> bool:
        work = works[number]
        if work.told is not None and not work.gone:
            work.told(text)
        if work.deadline is not None and time.monotonic() > work.deadline:
            late.add(number)
        return work.gone or number in late

    try:
        found = works[0].do([work.item for work in works], listen)
        if len(found) != len(works):
            raise WorkError(f"{len(works)} were asked and {len(found)} answered")
    except Exception as error:
        if len(works) == 1:
            works[0].future.set_exception(error)
            return
        for work in works:
            _do([work])
        return
    for number, (work, answer) in enumerate(zip(works, found, strict=True)):
        if number in late:
            work.future.set_exception(TimeoutError("it was not done in time"))
        else:
            work.future.set_result(answer)

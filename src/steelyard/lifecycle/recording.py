"""Writing down what a server is asked and says, beside its answers and never in their way.

begin, end ─→ queue ─→ one thread ─→ a transaction for all that came meanwhile
give (feedback) ─→ the same, and a future that is done once it is on disk
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy.exc import SQLAlchemyError

from steelyard.audit.personal import Redactor
from steelyard.errors import WorkError
from steelyard.store.traffic import (
    Feedback,
    Outcome,
    Request,
    Traffic,
    add_feedback,
    add_outcomes,
    add_requests,
)

Manner = Literal["all", "redacted", "none"]
MANNERS: tuple[Manner, ...] = ("all", "redacted", "none")
MOST_QUEUED = 20_000  # rows: at 500 requests a second, 20 seconds of a disk that stands still
GATHER_SECONDS = 0.02  # that rows wait for others of their transaction. Source: ours
SWEEP_SECONDS = 3600.0
CLOCK_SLACK_SECONDS = 600.0  # by which the two clocks may differ and old rows still be dropped


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of texts, and for how many days; None is for ever."""

    manner: Manner = "all"
    keep_days: float | None = 30.0


@dataclass(slots=True)
class _Said:
    feedback: Feedback
    done: Future[bool] = field(default_factory=Future)


@dataclass(slots=True)
class _Flush:
    done: Future[None] = field(default_factory=Future)


class Recorder:
    """Keeps requests and feedback. What cannot be written is counted in `lost`, and goes on.

    `now` and `monotonic` are the clocks: old rows are only dropped while both agree on how much
    time has passed since the start, so that a clock that jumps deletes nothing.
    """

    def __init__(
        self,
        traffic: Traffic,
        retention: Retention = Retention(),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic, self.retention = traffic, retention
        self.lost = 0
        self._now, self._monotonic = now, monotonic
        self._started = (now(), monotonic())
        self._swept: float | None = None
        self._queue: queue.SimpleQueue[Request | Outcome | _Said | _Flush | None]
        self._queue = queue.SimpleQueue()  # no lock of Python's to wait for
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def begin(self, request: Request) -> None:
        """Have a request written down; at once, whatever the disk does."""
        self._put(request)

    def end(self, outcome: Outcome) -> None:
        """Have its outcome written down."""
        self._put(outcome)

    def give(self, feedback: Feedback) -> Future[bool]:
        """Keep feedback. Done once it is on disk: whether it is new.

        The future fails with a WorkError where it could not be written.
        """
        said = _Said(feedback)
        self._queue.put(said)
        return said.done

    def flush(self) -> Future[None]:
        """Done once all that came before has been written, or lost."""
        flush = _Flush()
        self._queue.put(flush)
        return flush.done

    def close(self, timeout_s: float | None = None) -> None:
        """Write what there is, and end."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _put(self, row: Request | Outcome) -> None:
        if self._queue.qsize() >= MOST_QUEUED:
            self.lost += 1
        else:
            self._queue.put(row)

    def _run(self) -> None:
        ended = False
        while not ended:
            rows = [self._queue.get()]
            if not isinstance(rows[0], _Said | _Flush | None):
                time.sleep(GATHER_SECONDS)
            while True:
                try:
                    rows.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            ended = None in rows
            self._write([row for row in rows if row is not None])
            self._sweep()

    def _write(self, rows: list[Request | Outcome | _Said | _Flush]) -> None:
        requests = [self._kept(row) for row in rows if isinstance(row, Request)]
        outcomes = [self._kept(row) for row in rows if isinstance(row, Outcome)]
        try:
            if requests or outcomes:
                with self.traffic.writing() as connection:
                    if requests:
                        add_requests(connection, requests)
                    if outcomes:
                        add_outcomes(connection, outcomes)
        except (SQLAlchemyError, OSError):
            self.lost += len(requests) or len(outcomes)
        for row in rows:  # after the requests that they may be about, each on its own
            if isinstance(row, _Said):
                self._write_feedback(row)
            elif isinstance(row, _Flush):
                row.done.set_result(None)

    def _write_feedback(self, said: _Said) -> None:
        try:
            with self.traffic.writing() as connection:
                new = add_feedback(connection, said.feedback)
        except (SQLAlchemyError, OSError) as error:
            why = getattr(error, "orig", None) or error
            said.done.set_exception(WorkError(f"the feedback could not be kept: {why}"))
        else:
            said.done.set_result(new)

    def _kept(self, row: Request | Outcome) -> Any:
        """A row with as much of its text as may be kept."""
        if self.retention.manner == "all":
            return row
        if isinstance(row, Request):
            return replace(row, input=self._text(row.input))
        return replace(row, answer=self._text(row.answer))

    def _text(self, text: str | None) -> str | None:
        if text is None or self.retention.manner == "none":
            return None
        return Redactor().redact(text)[0]

    def _sweep(self) -> None:
        """Drop what is older than is kept, once an hour."""
        days, ticks = self.retention.keep_days, self._monotonic()
        if days is None or (self._swept is not None and ticks - self._swept < SWEEP_SECONDS):
            return
        self._swept = ticks
        now = self._now()
        passed = (now - self._started[0]).total_seconds()
        if abs(passed - (ticks - self._started[1])) > CLOCK_SLACK_SECONDS:
            return
        try:
            self.traffic.forget_before((now - timedelta(days=days)).isoformat(timespec="seconds"))
        except (SQLAlchemyError, OSError):
            self._swept = None

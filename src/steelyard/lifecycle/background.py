"""Work that goes on behind a server's requests: what to do is in rows, one thing at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
AGAIN_SECONDS = 5.0  # after a failure: what failed may be `take` itself, as on a full disk
log = logging.getLogger("steelyard.background")


class Worker(Generic[T]):
    """A thread that takes what is to be done and does it, until it is closed.

    `take` gives the next thing, or None while there is nothing. What fails in `do` is its own to
    tell; an error that comes out of either is logged by its kind, and the next thing is done a
    little later, so that one that cannot be got over does not keep the machine busy.
    """

    def __init__(self, name: str, take: Callable[[], T | None], do: Callable[[T], None]) -> None:
        self._take, self._do = take, do
        self._change = threading.Condition()
        self._closing = False
        self._woken = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        with self._change:
            self._woken = True
            self._change.notify()

    @property
    def closing(self) -> bool:
        """Whether what is being done should be left where it is."""
        return self._closing

    def close(self, timeout_s: float) -> None:
        """End, once what is being done is done or left."""
        with self._change:
            self._closing = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing:
            self._woken = False
            try:
                item = self._take()
                if item is not None:
                    self._do(item)
                    continue
                seconds = None
            except Exception as error:  # the job worker: the next one is done
                log.error("%s failed: %s", self._thread.name, type(error).__name__)
                seconds = AGAIN_SECONDS
            with self._change:
                if not (self._woken or self._closing):
                    self._change.wait(seconds)

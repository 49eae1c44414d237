"""What is to be done when something takes too long, looked at a few times a second.

A timer for each request would cost more than the request: nearly all of them are never needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

LOOK_SECONDS = 0.1


class Deadlines:
    """Callbacks by the time at which they are due. Used in the event loop alone."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due: dict[int, tuple[float, Callable[[], None]]] = {}
        self._numbers = count()

    def add(self, seconds: float, do: Callable[[], None]) -> int:
        """Have something done after so long, unless it is dropped before; its number."""
        number = next(self._numbers)
        self._due[number] = (self._monotonic() + seconds, do)
        return number

    def drop(self, number: int) -> None:
        """Not needed any more."""
        self._due.pop(number, None)

    def look(self) -> None:
        """Do what is due."""
        now = self._monotonic()
        for number in [number for number, (due, _) in self._due.items() if due <= now]:
            _, do = self._due.pop(number)
            do()

    async def watch(self) -> None:
        """Look for as long as the server runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """The block ends in time, or in a TimeoutError."""
        task = asyncio.current_task()
        assert task is not None
        late = False

        def end() -> None:
            nonlocal late
            late = True
            task.cancel()

        number = self.add(seconds, end)
        try:
            yield
        except asyncio.CancelledError:
            if not late:
                raise
            task.uncancel()
            raise TimeoutError from None
        finally:
            self.drop(number)

"""Questions to a server that speaks JSON over HTTP: one place of it, asked politely.

    post_all ─→ at most `concurrency` at once ─→ breaker, gate ─→ toll ─→ request ─→ reply
                                   ↑                                          │
                                   └── full jitter, or what the server asked ─┘
                                       408, 429, 5xx, no connection, half a reply

Callers wait for their replies; the event loop runs on a thread of its own, so that connections
stay open from call to call and callers may have a loop themselves. A reply of server-sent events
is heard while it comes (`stream_all`); once something of it was heard, it is not asked for again.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from steelyard.core import Json, cut
from steelyard.errors import ModelError, WorkError
from steelyard.models.line import Line, check_url, events, proxy_of
from steelyard.models.rate_limits import Gate

AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})  # statuses that may pass
OWN_FAULT = frozenset({400, 413, 422})  # statuses that are about one request alone
BREAK_AFTER = 5  # requests given up one after the other. Source: ours
BREAK_SECONDS = 30.0
PAYING_SECONDS = 0.01  # between two looks at whether others are paid
LOOKING_SECONDS = 0.25  # between two looks at whether a stream is still wanted. Source: ours
CHUNK_BYTES = 65_536
SAID_CHARACTERS = 300
T = TypeVar("T")
NO_MONEY = "insufficient_quota"  # a 429 that waiting does not end. Source: OpenAI, "Error codes"


class Toll(Protocol):
    """Who pays for a request, told of each try."""

    def reserve(self) -> bool:
        """False while it must wait for others; raises SpentError if that would not help."""
        ...

    def release(self) -> None:
        """The server refused: nothing was paid."""
        ...

    def lost(self) -> None:
        """The reply was lost on its way: it may have been paid in full."""
        ...


@dataclass(frozen=True)
class Manners:
    """How a server is asked. Units: seconds of a whole reply; bytes of it.

    `waits_s` are the longest waits before the second try and those after it. `longest_wait_s` is
    what a server may ask us to wait; one that asks for more is not asked again. `again_when_late`:
    what timed out is tried again like any other failure. The clock and the sleep are for tests
    that do not want to wait.
    """

    timeout_s: float = 60.0
    concurrency: int = 8
    waits_s: tuple[float, ...] = (1.0, 4.0, 16.0)
    longest_wait_s: float = 60.0
    max_reply_bytes: int = 64_000_000
    plain_http: bool = False
    again_when_late: bool = True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: random.Random = field(default_factory=random.Random)


class Endpoint:
    """What `path` at `url`, such as https://host/v1, gives; `wanted` says it in messages.

    The key is read from the environment at every request, is sent to `url` alone (no redirect
    is followed) and never stands in a message.

    Raises:
        ModelError: the URL is none, or one that a key or a text should not be sent to; the
            variable `key_env` is not set.
    """

    def __init__(
        self,
        url: str,
        path: str,
        wanted: str,
        *,
        key_env: str | None = None,
        manners: Manners | None = None,
    ) -> None:
        self.manners = manners or Manners()
        check_url(url, wanted, plain_http=self.manners.plain_http)
        self.place = f"{url.rstrip('/')}/{path}"
        self.wanted, self.key_env = wanted, key_env
        self._proxy = proxy_of(self.place)
        self._slots = asyncio.Semaphore(self.manners.concurrency)
        self._gate = Gate(self.manners.clock)
        self._breaker = _Breaker(self.manners.clock)
        self._line: Line | None = None
        self._key()

    def post(self, body: Json) -> bytes:
        """The reply to a request, tried again while the server may recover.

        Raises:
            WorkError: none came, or one that says no.
        """
        [found] = self.post_all([body])
        if isinstance(found, WorkError):
            raise found
        return found

    def post_all(
        self,
        bodies: Sequence[Json],
        tolls: Sequence[Toll] | None = None,
        heard: Callable[[int, bytes], None] = lambda _number, _reply: None,
    ) -> list[bytes | WorkError]:
        """A reply, or why there is none, to each request, in order.

        `heard` is told of every reply, by the request's number, as soon as it is there; it runs on
        another thread than the caller's. When a toll says that the money is spent, what is under
        way is waited for, and the rest come back as that error.
        """
        paid = list(tolls) if tolls is not None else [None] * len(bodies)

        async def one(number: int) -> bytes:
            async with self._slots:
                reply = await self._ask(bodies[number], paid[number], self._whole)
            heard(number, reply)
            return reply

        return self._gathered([one(number) for number in range(len(bodies))])

    def stream_all(
        self,
        bodies: Sequence[Json],
        told: Callable[[int, bytes], bool],
        left: Callable[[int], bool] = lambda _number: False,
    ) -> list[WorkError | None]:
        """Hear the reply to each request while it comes, and why one broke off, in order.

        `told` is given each event's data by the request's number, and says whether the rest is not
        wanted; `left` is asked the same a few times a second. Both run on another thread than the
        caller's.
        """

        async def one(number: int) -> None:
            async def lines(reply: Any) -> None:
                await self._lines(reply, lambda data: told(number, data))

            async with self._slots:
                asking = asyncio.ensure_future(self._ask(bodies[number], None, lines))
                try:
                    while not asking.done() and not left(number):
                        await asyncio.wait((asking,), timeout=LOOKING_SECONDS)
                finally:
                    asking.cancel()
                with suppress(asyncio.CancelledError):
                    await asking

        return self._gathered([one(number) for number in range(len(bodies))])

    def _gathered(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[T | WorkError]:
        """What each comes to, or the error of the server, in order."""
        if self._line is None:
            self._line = Line()
            weakref.finalize(self, self._line.close)

        async def every() -> list[T | BaseException]:
            return await asyncio.gather(*works, return_exceptions=True)

        found: list[T | WorkError] = []
        for reply in self._line.run(every()):
            if isinstance(reply, BaseException) and not isinstance(reply, WorkError):
                raise reply
            found.append(reply)
        return found

    def failed(self, why: str) -> WorkError:
        """The error of a reply that did not come, or was none."""
        if (key := os.environ.get(self.key_env or "")) and key in why:
            why = why.replace(key, "…")  # a server that repeats what it was sent
        return WorkError(f"{self.place}: {self.wanted} did not come: {why}")

    async def _ask(self, body: Json, toll: Toll | None, read: Callable[[Any], Awaitable[T]]) -> T:
        sent, tries, late = json.dumps(body).encode(), 0, False
        for wait in (*self.manners.waits_s, None):
            await self._admitted()
            while toll is not None and not toll.reserve():
                await asyncio.sleep(PAYING_SECONDS)
            tries += 1
            try:
                reply = await self._attempt(sent, read)
            except _PassingError as error:
                why, late = str(error), error.late
                if toll is not None:
                    (toll.release if error.answered else toll.lost)()
            except WorkError as error:
                if toll is not None:
                    (toll.lost if isinstance(error, _TooLongError) else toll.release)()
                raise
            except asyncio.CancelledError:
                if toll is not None:
                    toll.lost()
                raise
            else:
                self._breaker.close()
                return reply
            if wait is None or (late and not self.manners.again_when_late):
                break
            # Source: Brooker 2015, "Exponential Backoff And Jitter", AWS: full jitter
            await self.manners.sleep(self.manners.rng.uniform(0.0, wait))
        self._breaker.count(why)
        failed = self.failed(f"{why}, {tries} times" if tries > 1 else why)
        raise LateError(str(failed)) if late else failed

    async def _admitted(self) -> None:
        """Wait until the server may be asked."""
        if (why := self._breaker.open_because()) is not None:
            raise self.failed(why)
        while (left := self._gate.seconds_left) > 0:
            if left > self.manners.longest_wait_s:
                raise self.failed(
                    f"the server asks to be left alone for {math.ceil(left)} s; "
                    f"expected at most {self.manners.longest_wait_s:.0f}. Go on later"
                )
            # A little later, and not all at once.
            await self.manners.sleep(left + self.manners.rng.uniform(0.0, min(1.0, left / 2)))

    async def _attempt(self, sent: bytes, read: Callable[[Any], Awaitable[T]]) -> T:
        """One try, whose reply is read by `read`.

        Raises:
            _PassingError: it may go better the next time.
            WorkError: it will not.
        """
        import aiohttp

        assert self._line is not None
        session = self._line.session(
            concurrency=self.manners.concurrency, timeout_s=self.manners.timeout_s
        )
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        answered = False
        try:
            async with session.post(
                self.place, data=sent, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as reply:
                self._gate.hear({k.lower(): v for k, v in reply.headers.items()})
                if not 200 <= reply.status < 300:
                    answered = True
                    raise self._refused(reply.status, await _text(reply))
                return await read(reply)
        except TimeoutError as error:
            raise _PassingError(self._late, answered, late=True) from error
        except (aiohttp.ClientError, OSError) as error:
            refused = isinstance(error, aiohttp.ClientConnectorError)
            why = str(error) or type(error).__name__
            raise _PassingError(why, answered or refused) from error

    def _refused(self, status: int, said: str) -> Exception:
        why = f"status {status}: {cut(said, SAID_CHARACTERS)}"
        if status in AGAIN and NO_MONEY not in said:
            return _PassingError(why, answered=True)
        if 300 <= status < 400:
            why = f"status {status}: a redirect, which is not followed; name the place it leads to"
        if status not in OWN_FAULT:
            self._breaker.count(why)
        return StatusError(str(self.failed(why)), status, said)

    async def _whole(self, reply: Any) -> bytes:
        parts, size = [], 0
        async for part in reply.content.iter_chunked(CHUNK_BYTES):
            size += len(part)
            if size > self.manners.max_reply_bytes:
                reply.close()
                why = f"its answer is longer than {self.manners.max_reply_bytes} bytes"
                raise _TooLongError(str(self.failed(why)))
            parts.append(part)
        return b"".join(parts)

    async def _lines(self, reply: Any, told: Callable[[bytes], bool]) -> None:
        """Tell the data of each event as it comes, until enough is told.

        Raises:
            WorkError: it broke off after something was told.
        """
        import aiohttp

        begun = False
        try:
            async for data in events(reply, self.manners.max_reply_bytes):
                begun = True
                if told(data):
                    reply.close()
                    return
        except TimeoutError as error:
            if begun:
                raise LateError(str(self.failed(self._late))) from error
            raise
        except (aiohttp.ClientError, OSError) as error:
            if begun:
                why = f"it broke off: {str(error) or type(error).__name__}"
                raise self.failed(why) from error
            raise

    @property
    def _late(self) -> str:
        return f"it timed out: no whole reply in {self.manners.timeout_s:g} s"

    def _key(self) -> str | None:
        if self.key_env is None:
            return None
        if not (key := os.environ.get(self.key_env)):
            raise ModelError(
                f"{self.place}: its key is expected in the environment variable {self.key_env}, "
                "which is not set; set it, or name another"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ModelError(
                f"{self.place}: the environment variable {self.key_env} holds what is no key: "
                "blanks, line ends or other signs that a header cannot carry; set it anew"
            )
        return key


class StatusError(WorkError):
    """The server said no, in words of its own."""

    def __init__(self, message: str, status: int, said: str) -> None:
        super().__init__(message)
        self.status, self.said = status, said


class LateError(WorkError):
    """No whole reply in time."""


class _PassingError(Exception):
    """A try that failed as the next may not. `answered`: the server itself said no."""

    def __init__(self, why: str, answered: bool, *, late: bool = False) -> None:
        super().__init__(why)
        self.answered, self.late = answered, late


class _TooLongError(WorkError):
    """An answer that was not read to its end, and may have been paid."""


class _Breaker:
    """Opens after failures in a row, so that a server that is gone is not waited for each time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._num_failures, self._last, self._until = 0, "", 0.0

    def close(self) -> None:
        self._num_failures = 0

    def count(self, why: str) -> None:
        self._num_failures += 1
        self._last = why
        if self._num_failures >= BREAK_AFTER:
            self._until = self._clock() + BREAK_SECONDS

    def open_because(self) -> str | None:
        """Why it is not to be asked; when it has rested, one more failure opens it again."""
        if self._num_failures < BREAK_AFTER:
            return None
        if self._clock() >= self._until:
            self._num_failures = BREAK_AFTER - 1
            return None
        return f"it was not asked, after {self._num_failures} failures in a row: {self._last}"


async def _text(reply: Any) -> str:
    found: bytes = await reply.content.read(4 * SAID_CHARACTERS)
    return found.decode(errors="replace")

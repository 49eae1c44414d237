"""What all routes of a server share: its models, its engine, what it records and counts."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.types import Receive

from steelyard.core import Json, Usage
from steelyard.errors import RequestError, SteelyardError
from steelyard.lifecycle.engine import MOST_WAITING, Engine
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.recording import Recorder, Retention
from steelyard.lifecycle.tuning import Tuner
from steelyard.lifecycle.vector_stores import Stores
from steelyard.serve import calls
from steelyard.serve.calls import Call, Reply
from steelyard.serve.catalogue import Catalogue
from steelyard.serve.deadlines import Deadlines
from steelyard.serve.limits import Limits
from steelyard.serve.metrics import Metrics
from steelyard.serve.refresher import Refresher
from steelyard.serve.tracing import Span, Trace, Tracing
from steelyard.store import traffic
from steelyard.store.keys import ApiKey

LOOK_SECONDS = 0.5  # between two looks at what changed in the home folder. Source: ours
CLIENT_GONE = 499  # what nginx logs for a client that left; nobody reads it


@dataclass(frozen=True)
class Settings:
    """How a server is run. `names` are the releases to serve; all when empty.

    `bases` are base models served beside those of the releases ("NAME=SOURCE" under another name),
    and `keys` ones that hold for this run alone. `timeout_s` bounds a request in the engine.
    `trace` says which spans are sent.
    """

    names: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    bases: tuple[str, ...] = ()
    keys: tuple[ApiKey, ...] = ()
    retention: Retention = Retention()
    timeout_s: float = 300.0
    drain_s: float = 30.0
    most_waiting: int = MOST_WAITING
    trace: Trace = "none"


@dataclass
class Service:
    """A server's parts. Made by `serve.running.open_service`."""

    settings: Settings
    home: Home
    engine: Engine
    catalogue: Catalogue
    recorder: Recorder
    tuner: Tuner
    stores: Stores
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    keys: tuple[ApiKey, ...] = ()
    deadlines: Deadlines = field(default_factory=Deadlines)
    describe: Callable[[], Json] = lambda: None
    tracing: Tracing | None = None
    refresher: Refresher = field(init=False)

    def __post_init__(self) -> None:
        self.refresher = Refresher(self.home, self.metrics)

    def read_keys(self) -> None:
        """The keys that hold now; `steelyard keys` changes them while a server runs."""
        stored = [key for key in self.home.keys.all() if key.revoked_at is None]
        self.keys = (*self.settings.keys, *stored)

    @property
    def needs_key(self) -> bool:
        """Whether requests need a key: as soon as there is one."""
        return bool(self.keys)

    @property
    def hangs(self) -> bool:
        """Whether the engine has been at one call for longer than any request may take."""
        return self.engine.busy_seconds > self.settings.timeout_s

    def begin(
        self, request: Request, model: str, user: str | None, text: str, asked: object = None
    ) -> Exchange:
        """A request that is about to be answered, written down as it begins; `asked` is its body.

        Raises:
            RequestError: the engine hangs, so that it would wait for nothing.
        """
        if self.hangs:
            raise RequestError(
                "the engine has not answered for too long; try again later",
                status=503,
                code="engine_hangs",
                retry_after_s=math.ceil(self.settings.timeout_s / 10),
            )
        route = request.scope["path"]
        exchange = Exchange(self, request, f"{PREFIXES.get(route, 'req')}{uuid.uuid4().hex}")
        exchange.model, exchange.span = model, self.span(request, asked, text)
        self.recorder.begin(
            traffic.Request(
                id=exchange.id,
                release=model,
                route=route,
                user=user or "",
                key=exchange.key.id if exchange.key is not None else "",
                input=text,
                began_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            )
        )
        return exchange

    def span(self, request: Request, asked: object, text: str = "") -> Span | None:
        """The span of a request that begins, where spans are sent."""
        if self.tracing is None:
            return None
        return self.tracing.begin(request.url.path, asked, request.headers, text)


PREFIXES = {
    "/v1/chat/completions": "chatcmpl-",
    "/v1/completions": "cmpl-",
    "/v1/responses": "resp_",
}


class Exchange:
    """One request and its reply: runs the call, and writes down how it ended, once."""

    def __init__(self, service: Service, request: Request, id: str) -> None:
        self.service, self.request, self.id = service, request, id
        self.key: ApiKey | None = request.scope.get("steelyard.key")
        self.created = int(time.time())
        self.model = ""
        self.span: Span | None = None
        self._began = time.perf_counter()
        self._open = True

    async def reply(self, call: Call) -> Reply:
        """The whole reply; a client that leaves takes its call with it.

        Raises:
            RequestError: there is none, with why.
        """
        deadlines, settings = self.service.deadlines, self.service.settings
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        watches: list[asyncio.Task[None]] = []

        def fail(error: RequestError) -> None:
            if not waiting.done():
                waiting.set_exception(error)

        async def until_gone() -> None:
            await client_gone(self.request.receive)
            fail(client_left())

        late = deadlines.add(
            settings.timeout_s, lambda: fail(calls.as_request_error(TimeoutError()))
        )
        # Only who waits for long may leave before: the others are not watched.
        watch = deadlines.add(0.0, lambda: watches.append(asyncio.create_task(until_gone())))
        try:
            call.start(self.service.engine)
            call.when_done(waiting)
            return self._ended(await waiting)
        except RequestError as error:
            self._failed(error)
            raise
        finally:
            deadlines.drop(late)
            deadlines.drop(watch)
            for task in watches:
                task.cancel()
            call.leave()

    async def pieces(self, call: Call) -> AsyncIterator[tuple[int, str] | Reply]:
        """New text of each choice by its number, and the reply at the end.

        Raises:
            RequestError: it ended early, with why.
        """
        heard = call.listen()
        try:
            call.start(self.service.engine)
            async with asyncio.timeout(self.service.settings.timeout_s):
                async for piece in call.pieces(heard):
                    if self.span is not None:
                        self.span.heard()
                    yield self._ended(piece) if isinstance(piece, Reply) else piece
        except TimeoutError as error:
            failed = calls.as_request_error(error)
            self._failed(failed)
            raise failed from error
        except RequestError as error:
            self._failed(error)
            raise
        finally:
            if self._open:
                self._failed(client_left())
            call.leave()

    def _ended(self, reply: Reply) -> Reply:
        usage = reply.usage
        if self.key is not None:
            self.service.limits.take_tokens(self.key, usage.prompt_tokens + usage.completion_tokens)
        for kind in ("prompt", "cached", "completion"):
            tokens = getattr(usage, f"{kind}_tokens")
            name, help = "steelyard_tokens_total", "Tokens of requests and answers."
            self.service.metrics.count(name, help, tokens, kind=kind)
        if reply.sources is not None and not reply.sources:
            name = "steelyard_empty_retrievals_total"
            self.service.metrics.count(name, "Answers for which nothing was found.")
        self._record(reply, None)
        return reply

    def _failed(self, error: RequestError) -> None:
        if error.status == CLIENT_GONE:
            name = "steelyard_clients_gone_total"
            self.service.metrics.count(name, "Clients that left before their answer.")
        self._record(None, error.code or "error")

    def _record(self, reply: Reply | None, error: str | None) -> None:
        if not self._open:
            return
        self._open = False
        usage = Usage() if reply is None else reply.usage
        if self.span is not None:
            self._trace(self.span, reply, error)
        sources = None if reply is None else reply.sources
        self.service.recorder.end(
            traffic.Outcome(
                id=self.id,
                answer=None if reply is None else reply.choices[0].text,
                error=error,
                valid=reply is not None and reply.valid,
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                completion_tokens=usage.completion_tokens,
                sources=None if sources is None else len(sources),
                milliseconds=1000 * (time.perf_counter() - self._began),
            )
        )

    def _trace(self, span: Span, reply: Reply | None, error: str | None) -> None:
        if reply is None:
            span.failed(error or "error")
            return
        choices = [(choice.text, choice.finish) for choice in reply.choices]
        span.ended(self.id, self.model, reply.usage, choices)


def client_left() -> RequestError:
    """The client is gone."""
    return RequestError("the client left", status=CLIENT_GONE, code="client_gone")


async def client_gone(receive: Receive) -> None:
    """Comes back when the client is gone; its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def service_of(request: Request) -> Service:
    """The service of the server that a request came to."""
    found: Service = request.scope["steelyard.service"]
    return found


async def watch(service: Service) -> None:
    """Take up promotions and keys as they change, for as long as the server runs."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with suppress(SteelyardError, SQLAlchemyError):  # a full disk or queue; looked at again
            service.read_keys()
            await service.catalogue.keep_up()

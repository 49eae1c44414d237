"""A request on its way through the engine: pieces of text as they come, then the reply.

a release        Query → System.answer_many: the object that was measured
a base model     Prompt or plain text → Backend.generate
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from steelyard.core import Answer, Json, Query, Source, Usage
from steelyard.errors import BusyError, RequestError, SteelyardError
from steelyard.lifecycle.engine import Engine, Work
from steelyard.lifecycle.releases import Served
from steelyard.models import Generation, Listen, Prompt, Sampling, Token
from steelyard.models.base import TOO_LONG_REMEDY
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.prompt import target_text
from steelyard.serve.catalogue import Plain
from steelyard.serve.texts import at_most, visible


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of a reply. `finish` is "stop" or "length"."""

    text: str
    finish: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `valid` says whether it has the form that the task asks for."""

    choices: tuple[Choice, ...]
    usage: Usage
    sources: tuple[Source, ...] | None = None
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a text ends early: at the first of `stops`, or after `max_tokens`."""

    stops: tuple[str, ...] = ()
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class _Item:
    """What the engine is given: what is asked, and where its text may end."""

    asked: Any
    bounds: Bounds


class Call:
    """Works in the engine whose results together are one reply."""

    def __init__(
        self,
        works: Sequence[Work],
        finish: Callable[[Sequence[Any]], Reply],
        show: Callable[[str], str],
        *,
        copies: int = 1,
    ) -> None:
        self.works = list(works)
        self._finish, self._show = finish, show
        self._copies = copies  # of the one text that a release has

    def start(self, engine: Engine) -> None:
        """Have the works wait for their turn, all or none.

        Raises:
            RequestError: too many are waiting.
        """
        try:
            for work in self.works:
                engine.submit(work)
        except BusyError as error:
            self.leave()
            raise too_busy(str(error)) from error

    def leave(self) -> None:
        """Nobody waits for the reply any more."""
        for work in self.works:
            work.leave()

    def when_done(self, waiting: asyncio.Future[Reply]) -> None:
        """Give the reply, or why there is none, to whoever waits in the event loop."""
        loop, lock, left = asyncio.get_running_loop(), threading.Lock(), len(self.works)

        def hand_over() -> None:
            if waiting.done():
                return
            try:
                waiting.set_result(self.reply())
            except RequestError as error:
                waiting.set_exception(error)

        def done(_: Future[Any]) -> None:
            nonlocal left
            with lock:
                left -= 1
            if not left:
                loop.call_soon_threadsafe(hand_over)

        for work in self.works:
            work.future.add_done_callback(done)

    def reply(self) -> Reply:
        """All of it, once all works are done.

        Raises:
            RequestError: there is none, with why.
        """
        try:
            return self._finish([work.future.result(0) for work in self.works])
        except (Exception, CancelledError) as error:
            raise as_request_error(error) from error

    def listen(self) -> asyncio.Queue[tuple[int, str | None]]:
        """Hear the texts as they grow; before `start`. None says that a text is whole."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[tuple[int, str | None]] = asyncio.Queue()

        def tell(number: int, text: str | None) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, (number, text))

        for number, work in enumerate(self.works):
            work.told = partial(tell, number)
            work.future.add_done_callback(partial(self._done, tell, number))
        return heard

    @staticmethod
    def _done(tell: Callable[[int, str | None], None], number: int, _: Future[Any]) -> None:
        tell(number, None)

    async def pieces(
        self, heard: asyncio.Queue[tuple[int, str | None]]
    ) -> AsyncIterator[tuple[int, str] | Reply]:
        """What is new of each text, by its number, and at the end the reply.

        Raises:
            RequestError: it ended early, with why.
        """
        sent = [""] * len(self.works)
        left = len(self.works)
        while left:
            number, text = await heard.get()
            if text is None:
                left -= 1
                continue
            shown = self._show(text)
            if shown.startswith(sent[number]) and len(shown) > len(sent[number]):
                for copy in range(self._copies):
                    yield number + copy, shown[len(sent[number]) :]
                sent[number] = shown
        reply = self.reply()
        for number, choice in enumerate(reply.choices):
            before = sent[0 if self._copies > 1 else number]
            if not choice.text.startswith(before):
                raise RequestError(
                    "the answer was begun anew; ask again", status=500, code="server_error"
                )
            if rest := choice.text[len(before) :]:
                yield number, rest
        yield reply


# ---------------------------------------------------------------- releases


def ask_release(
    served: Served, query: Query, bounds: Bounds, *, timeout_s: float, n: int = 1
) -> Call:
    """Ask a release one input. Its answer is the same every time: n choices are n copies."""
    system = served.system
    limit = bounds.max_tokens
    if isinstance(system, LanguageModelSystem) and limit is not None and limit >= system.max_tokens:
        bounds = replace(bounds, max_tokens=None)
    is_json = served.task.output.type == "json"
    count = _counter(served)

    def do(items: Sequence[_Item], listen: Listen) -> list[Answer]:
        return served.answer_all([item.asked for item in items], _ending(items, listen, count))

    def show(text: str) -> str:
        if is_json and text[:1] == "`":
            return ""  # a fence that the whole answer stands without
        return _shown(text, bounds, count)

    def finish(found: Sequence[Answer]) -> Reply:
        [answer] = found
        if answer.error is not None:
            raise _refused(answer.error)
        text = answer.text
        if is_json and text[:1] == "`" and answer.valid:
            text = target_text(answer.value)
        choice = _choice(text, True, bounds, count)
        tokens = answer.usage.completion_tokens
        if bounds.max_tokens is not None:
            tokens = min(tokens, bounds.max_tokens)
        usage = replace(answer.usage, completion_tokens=tokens)
        return Reply((choice,) * n, usage, answer.sources, answer.valid)

    deadline = time.monotonic() + timeout_s
    work = Work(served, _Item(query, bounds), do, deadline=deadline)
    return Call([work], finish, show, copies=n)


def _counter(served: Served) -> Callable[[str], int]:
    """How the tokens of an answer are counted, its end not included."""
    system = served.system
    if isinstance(system, LanguageModelSystem):
        backend = system.backend
        return lambda text: backend.count_target_tokens(text) - 1
    return lambda text: len(text.split())


# ---------------------------------------------------------------- base models


def ask_plain(
    model: Plain,
    prompts: Sequence[Prompt | str],
    samplings: Sequence[Sampling],
    stops: tuple[str, ...],
    *,
    timeout_s: float,
) -> Call:
    """Ask a base model each prompt with each sampling, prompt by prompt."""
    bounds = Bounds(stops)
    backend = model.backend

    def do(items: Sequence[_Item], listen: Listen) -> list[Generation]:
        prompts = [item.asked[0] for item in items]
        hear = _ending(items, listen, len)
        return backend.generate(prompts, items[0].asked[1], hear)

    def finish(found: Sequence[Generation]) -> Reply:
        for one in found:
            if one.error is not None:
                raise _refused(one.error)
        choices = tuple(
            replace(_choice(one.text, one.complete, bounds, len), tokens=one.tokens)
            for one in found
        )
        each = range(0, len(found), len(samplings))  # a prompt counts once, however often asked
        usage = Usage(
            sum(found[i].usage.prompt_tokens for i in each),
            sum(found[i].usage.cached_tokens for i in each),
            sum(one.usage.completion_tokens for one in found),
            estimated=any(one.usage.estimated for one in found),
        )
        return Reply(choices, usage)

    deadline = time.monotonic() + timeout_s
    works = [
        Work((backend, sampling), _Item((prompt, sampling), bounds), do, deadline=deadline)
        for prompt in prompts
        for sampling in samplings
    ]
    return Call(works, finish, lambda text: _shown(text, bounds, len))


# ---------------------------------------------------------------- both


def _ending(items: Sequence[_Item], listen: Listen, count: Callable[[str], int]) -> Listen:
    def hear(number: int, text: str) -> bool:
        bounds = items[number].bounds
        left = listen(number, text)
        full = bounds.max_tokens is not None and count(text) > bounds.max_tokens
        return left or full or any(stop in text for stop in bounds.stops)

    return hear


def _shown(text: str, bounds: Bounds, count: Callable[[str], int]) -> str:
    """What is sure to stand in the answer of a text that still grows."""
    shown, _ = visible(text, bounds.stops, final=False)
    return shown if bounds.max_tokens is None else at_most(shown, bounds.max_tokens, count)


def _choice(text: str, complete: bool, bounds: Bounds, count: Callable[[str], int]) -> Choice:
    text, stopped = visible(text, bounds.stops, final=True)
    whole = text if bounds.max_tokens is None else at_most(text, bounds.max_tokens, count)
    is_cut = len(whole) < len(text) or not (complete or stopped)
    return Choice(whole, "length" if is_cut else "stop")


def _refused(error: str) -> RequestError:
    """A failed answer as an error of the request, where it is one."""
    if TOO_LONG_REMEDY in error:
        message = error.replace(f"; {TOO_LONG_REMEDY}", "; shorten it")
        return RequestError(message, code="context_length_exceeded", param="messages")
    return RequestError("the model gave no answer", status=500, code="server_error")


def too_busy(message: str) -> RequestError:
    """More is asked than is answered."""
    return RequestError(message, status=429, code="rate_limit_exceeded", retry_after_s=1.0)


def as_request_error(error: BaseException) -> RequestError:
    """What a client is told of a failure: nothing of what others asked stands in it."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, TimeoutError):
        message = "the answer did not come in time"
        return RequestError(message, status=504, code="timeout", retry_after_s=5.0)
    if isinstance(error, BusyError):
        return too_busy(str(error))
    what = str(error) if isinstance(error, SteelyardError) else type(error).__name__
    return RequestError(f"the engine failed: {what}", status=500, code="server_error")


def check_form(text: str, schema: Json, served: Served) -> None:
    """Refuse an answer of a release that is not what a request's response_format asks for.

    Raises:
        RequestError: the release answers in another form.
    """
    from steelyard.tasks.schema import misfit

    try:
        wrong = misfit(iter([("it", json.loads(text))]), schema)
    except ValueError:
        wrong = ("it", "is no JSON")
    if wrong is not None:
        raise RequestError(
            f"the answer of {served.release.id} does not fit response_format: {wrong[1]}; a "
            "release answers in the form of its task. Leave response_format out, or ask a base "
            "model",
            code="release_form_differs",
            param="response_format",
        )

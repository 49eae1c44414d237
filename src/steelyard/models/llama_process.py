"""llama.cpp kept alive: started when it is needed, and again when it died, but not for ever."""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib import request

from steelyard.errors import WorkError
from steelyard.models.llama_server import Child, Settings
from steelyard.models.processor import processor_name

WAITS_SECONDS = (0.0, 1.0, 4.0)  # before a start that follows as many deaths. Source: ours
REST_SECONDS = 60.0  # after which it may be started again
DRAIN_SECONDS = 30.0  # that running answers have, and new ones wait, before a load. Source: ours
PROBE_TOKENS = 8
CLEARLY_FASTER = 1.2  # by which factor, for fewer threads. Source: ours


class Running(Protocol):
    """A started llama.cpp."""

    address: str

    @property
    def is_running(self) -> bool: ...
    def close(self) -> None: ...


class LlamaProcess:
    """One llama.cpp at most, under one address as long as it lives.

    asked ─→ answers run ─→ load(adapter): new ones wait ─→ the last is done ─→ another child

    After three deaths with no answer between them it is left alone for a minute. `start`, clock
    and sleep are for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        start: Callable[[Settings], Running] = Child,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self._start, self._clock, self._sleep = start, clock, sleep
        self._child: Running | None = None
        self._num_deaths, self._died_at = 0, 0.0
        self._num_asked, self._num_loading = 0, 0
        self._lock = threading.Condition()

    @contextmanager
    def asked(self) -> Iterator[str]:
        """Its address while it is asked: until the block ends no adapter is loaded.

        Raises:
            WorkError: it cannot be started, or died too often.
        """
        with self._lock:
            self._lock.wait_for(lambda: not self._num_loading, DRAIN_SECONDS)
            self._num_asked += 1
        try:
            yield self.address()
        finally:
            with self._lock:
                self._num_asked -= 1
                self._lock.notify_all()

    def address(self) -> str:
        """Where it listens; it is started if it does not run.

        Raises:
            WorkError: it cannot be started, or died too often.
        """
        with self._lock:
            if self._child is not None and self._child.is_running:
                return self._child.address
            if self._child is not None:
                self._died()
            self._wait()
            try:
                self._child = self._start(self.settings)
            except WorkError:
                self._died()
                raise
            weakref.finalize(self, self._child.close)
            return self._child.address

    @property
    def is_running(self) -> bool:
        """Whether it is there to be asked without being started."""
        return self._child is not None and self._child.is_running

    def answered(self) -> None:
        """It does its work: earlier deaths are forgotten."""
        self._num_deaths = 0

    def hung(self) -> None:
        """It was asked and says nothing: it is ended, which counts as a death."""
        with self._lock:
            if self._child is not None:
                self._died()

    def load(self, adapter: Path) -> None:
        """Have it started with an adapter from now on; one that runs without it is ended, once
        what it is asked is answered, or `DRAIN_SECONDS` later: then that fails."""
        with self._lock:
            if str(adapter) in self.settings.adapters:
                return
            self._num_loading += 1
            try:
                self._lock.wait_for(lambda: not self._num_asked, DRAIN_SECONDS)
            finally:
                self._num_loading -= 1
                self._lock.notify_all()
            if str(adapter) not in self.settings.adapters:  # by another thread meanwhile
                adapters = (*self.settings.adapters, str(adapter))
                self.settings = replace(self.settings, adapters=adapters)
                self._end()

    def close(self) -> None:
        """End it, if it runs."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
        self._child = None

    def _died(self) -> None:
        self._end()
        self._num_deaths += 1
        self._died_at = self._clock()

    def _wait(self) -> None:
        if self._num_deaths >= len(WAITS_SECONDS):
            if self._clock() - self._died_at < REST_SECONDS:
                raise WorkError(
                    f"llama.cpp over {self.settings.model} died {self._num_deaths} times in a row; "
                    f"it is started again after {REST_SECONDS:.0f} s. Expected one that stays: "
                    "look at the memory it needs, or at the model"
                )
            self._num_deaths = 0
        self._sleep(WAITS_SECONDS[self._num_deaths])


def best_threads(settings: Settings, cache: Path, start: Callable[[Settings], Running]) -> int:
    """With how many threads a model answers soonest here, measured once for its size.

    As many as there are, unless fewer are clearly faster.
    """
    file = cache / "llama-threads.json"
    size = Path(settings.model).stat().st_size
    here = f"{processor_name()} {os.cpu_count()} cores, {size} bytes"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(known, dict) and type(known.get(here)) is int:
            return int(known[here])
    except (OSError, ValueError):
        known = {}
    most = os.cpu_count() or 1
    choices = sorted({most, most - 1, most // 2} - {0}, reverse=True)
    if len(choices) == 1:
        return most
    took = [_probe(replace(settings, threads=number), start) for number in choices]
    best = choices[0]
    if min(took) < took[0] / CLEARLY_FASTER:
        best = choices[took.index(min(took))]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        others = known if isinstance(known, dict) else {}
        file.write_text(json.dumps({**others, here: best}), encoding="utf-8")
    except OSError:
        pass  # it is measured again next time
    return best


def _probe(settings: Settings, start: Callable[[Settings], Running]) -> float:
    """Seconds of a short answer, the first of which warms it up."""
    child = start(settings)
    body = {"prompt": "The cat sat on the mat. " * 8, "n_predict": PROBE_TOKENS, "temperature": 0}
    asked = request.Request(  # noqa: S310  loopback
        f"{child.address}/completion",
        json.dumps({**body, "cache_prompt": False}).encode(),
        {"Content-Type": "application/json"},
    )
    took = []
    try:
        for _ in range(3):
            started = time.perf_counter()
            with request.urlopen(asked, timeout=120) as reply:  # noqa: S310
                reply.read()
            took.append(time.perf_counter() - started)
    except OSError as error:
        raise WorkError(f"llama.cpp over {settings.model} did not answer: {error}") from error
    finally:
        child.close()
    return min(took[1:])


def adapter_numbers(adapters: Sequence[Path]) -> dict[str, int]:
    """The number by which llama.cpp knows each adapter, by the folder that it is in."""
    return {str(adapter.parent): number for number, adapter in enumerate(adapters)}

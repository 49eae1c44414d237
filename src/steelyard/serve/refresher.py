"""The server refreshes what is due by the task files: a child process at a time, beside answers.

wait ─→ schedules ─ none, or nothing to do ──────────────────┐
  ↑         └─ due, or something to look at ─→ steelyard refresh --due ─→ counted
  └──────────────────────────────────────────────────────────┘

A child that is ended with the server leaves its job as a row, which the next one goes on with.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from steelyard.core import Json
from steelyard.errors import SteelyardError
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.scheduling import Schedule, Schedules, now_utc
from steelyard.serve.metrics import Labels, Metrics

LOOK_SECONDS = 600.0  # between two children at least, if no schedule is shorter. Source: ours
TICK_SECONDS = 5.0  # between two looks at the schedules
NICENESS = 10  # answers go first
END_SECONDS = 10.0  # that a child has to end in
log = logging.getLogger("steelyard.refresher")


def command_of(home: Home) -> list[str]:
    """What the child runs."""
    module = [sys.executable, "-m", "steelyard.cli.main"]
    return [*module, "refresh", "--due", "--home", str(home.path), "--json", "-"]


@dataclass
class Refresher:
    """Runs due refreshes while a server runs. `command` and `clock` are for tests.

    `failed`: the last child did. Why is not kept: it may repeat rows, and whoever may ask
    `/health` needs no key.
    """

    home: Home
    metrics: Metrics
    command: Callable[[Home], list[str]] = command_of
    clock: Callable[[], datetime] = now_utc
    failed: bool = False
    schedules: list[Schedule] = field(default_factory=list)
    _running: bool = False
    _ended: float | None = None  # on the event loop's clock

    @property
    def is_running(self) -> bool:
        """Whether a child is at work."""
        return self._running

    async def watch(self) -> None:
        """Run what is due, for as long as the server runs."""
        read = Schedules(self.home)
        while True:
            with suppress(SteelyardError, SQLAlchemyError, OSError):  # looked at again
                self.schedules = await asyncio.to_thread(read.all)
                if self._wants():
                    await self.run()
            await asyncio.sleep(TICK_SECONDS)

    def seconds_left(self) -> Mapping[Labels, float]:
        """Until each schedule is due, negative once it is."""
        now = self.clock()
        return {
            (("name", one.name),): (one.at - now).total_seconds()
            for one in self.schedules
            if one.at is not None
        }

    def _wants(self) -> bool:
        """Whether a child would find something to do, and it is not too soon after another."""
        if self._ended is not None:
            hours = [one.rule.every_hours for one in self.schedules if one.rule.every_hours]
            pause = min(LOOK_SECONDS, *(3600 * some for some in hours)) if hours else LOOK_SECONDS
            if asyncio.get_running_loop().time() - self._ended < pause:
                return False
        now = self.clock()
        return any(one.looks or one.is_due(now) for one in self.schedules)

    async def run(self) -> None:
        """One child from its start to its end; it is ended when we are cancelled."""
        none = asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(
            *self.command(self.home), stdin=none, stdout=asyncio.subprocess.PIPE, stderr=none
        )
        self._running = True
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, NICENESS)
        try:
            out, _ = await child.communicate()
            self._count(out)
        except asyncio.CancelledError:
            await _end(child)
            raise
        finally:
            self._running = False
            self._ended = asyncio.get_running_loop().time()

    def _count(self, out: bytes) -> None:
        try:
            done: Sequence[Json] = json.loads(out)["refreshed"]
            self.failed = False
        except (ValueError, KeyError, TypeError):
            done, self.failed = [{}], True
            log.warning("a refresh failed; for why, run: steelyard refresh --due")
        for one in done:
            self.metrics.count(
                "steelyard_refreshes_total",
                "Refreshes that this server ran, by what came of them.",
                outcome=_outcome(one),
            )


def _outcome(body: Json) -> str:
    if "sentence" not in body or str(body["sentence"]).startswith("failed"):
        return "failed"
    return "released" if body.get("release") else "nothing"


async def _end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()

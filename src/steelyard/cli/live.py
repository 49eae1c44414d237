"""What is running, how far, and the scores as they come: a live table on standard error."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from steelyard.lifecycle.events import (
    Ended,
    Event,
    Listener,
    Measured,
    Planned,
    Searching,
    Started,
    Training,
)

REFRESH_PER_SECOND = 4
READYING = "Getting ready: models are opened, and documents are read."
_STYLES = {"finished": "", "eliminated": "dim", "skipped": "red", "failed": "red"}


@dataclass
class Line:
    """One recipe in the table."""

    state: str = "waiting"
    score: str = ""
    style: str = "dim"
    started: float | None = None
    seconds: float = 0.0


@dataclass
class Board:
    """Keeps the lines up to date; rich asks it for a table several times a second."""

    task: str = READYING
    working: str = ""
    lines: defaultdict[str, Line] = field(default_factory=lambda: defaultdict(Line))
    started: float = field(default_factory=time.monotonic)

    def hear(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, Planned):
            self.lines = defaultdict(Line, {name: Line() for name in event.recipes})
            self.task = (
                f"{event.task}: {event.num_train} train, {event.num_dev} dev, {event.num_test} "
                f"test. Differences above {event.minimum_detectable_difference:.2f} are likely "
                "to be seen."
            )
        elif isinstance(event, Started):
            self.task = "" if self.task == READYING else self.task
            self._turn_to(event.recipe)
        elif isinstance(event, Training):
            self.lines[event.recipe].state = _training(event)
        elif isinstance(event, Searching):
            self.lines[event.recipe].state = f"searching on train {event.done}/{event.total}"
        elif isinstance(event, Measured):
            line = self.lines[event.recipe]
            line.state = f"{event.split} {event.done}/{event.total}"
            line.style = "bold"
            if event.score is not None and event.split == "dev":
                line.score = f"{event.score:.3f}"
        else:
            self._end(event)

    def _turn_to(self, recipe: str) -> None:
        """Recipes take turns: only the clock of the one at work runs."""
        self._stop(self.lines.get(self.working))
        self.working, line = recipe, self.lines[recipe]
        line.started, line.style = time.monotonic(), "bold"
        if not line.score:
            line.state = "building"

    def _stop(self, line: Line | None) -> None:
        if line is not None and line.started is not None:
            line.seconds += time.monotonic() - line.started
            line.started, line.style = None, ""

    def _end(self, event: Ended) -> None:
        report, line = event.report, self.lines[event.report.name]
        self._stop(line)
        line.state, line.style = report.status, _STYLES[report.status]
        if report.dev is not None:
            low, high = report.dev.interval
            line.score = f"{report.dev.score:.3f} [{low:.2f}, {high:.2f}]"
        if report.why:
            told = "" if report.status == "eliminated" else f"{report.status}: "
            line.state = told + report.why

    def __rich__(self) -> Group:
        now = time.monotonic()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        longest = max(map(len, self.lines), default=0)
        table.add_column("recipe", no_wrap=True, min_width=longest)
        table.add_column("score on dev", no_wrap=True, min_width=20)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("state", overflow="ellipsis", no_wrap=True)
        for name, line in self.lines.items():
            seconds = line.seconds + (0.0 if line.started is None else now - line.started)
            clock = _clock(seconds) if seconds else ""
            table.add_row(name, line.score, clock, Text(line.state), style=line.style or None)
        told = Text(f"{_clock(now - self.started)} so far; Ctrl-C keeps what is done", style="dim")
        above = [Text(self.task)] if self.task else []
        return Group(*above, *([table] if self.lines else []), told)


@contextmanager
def watch() -> Iterator[Listener]:
    """A listener that shows a live table, or nothing where standard error is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    board = Board()
    with Live(board, console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True):
        yield board.hear


@contextmanager
def working(what: str) -> Iterator[None]:
    """Says on standard error what takes a while, and for how long by now; nothing where that is no
    terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description} …"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield


def _training(event: Training) -> str:
    progress = event.progress
    loss = "" if progress.train_loss is None else f", loss {progress.train_loss:.3f}"
    held = "" if progress.held_out_loss is None else f", held-out {progress.held_out_loss:.3f}"
    return f"training step {progress.step}/{progress.num_steps}{loss}{held}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"

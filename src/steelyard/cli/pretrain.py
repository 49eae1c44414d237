"""`steelyard pretrain`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.lifecycle import open_home
from steelyard.lifecycle.pretraining import Pretrained, Watcher, pretrain
from steelyard.training import Progress
from steelyard.training.scratch import Course

OUT = Path("pretrained")
LINES_EVERY_SECONDS = 10.0


def command(
    corpus: Annotated[
        list[Path], typer.Argument(metavar="CORPUS…", help="Files and folders of documents.")
    ],
    minutes: Annotated[float, typer.Option(min=0.01, help="Train for about this long.")] = 5.0,
    size: Annotated[
        int | None,
        typer.Option(metavar="LAYERS", min=1, help="How large; set by the minutes otherwise."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the model.")] = OUT,
    seed: Annotated[int, typer.Option(help="First weights, order, what is held out.")] = 0,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Train a tokenizer and a small model on documents, from nothing."""
    check_writable(json)
    told = Teller(Console(stderr=True))
    with open_home(home) as opened:
        made = pretrain(
            corpus,
            opened,
            out=out,
            minutes=minutes,
            layers=size,
            seed=seed,
            watcher=Watcher(chosen=told.chosen, stepped=told.stepped),
        )
    print_pretrained(open_console(json), made)
    write_json(json, made.to_json())


class Teller:
    """Says on standard error what was chosen and how far it is; nothing where that is no
    terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.said = 0.0

    def chosen(self, course: Course) -> None:
        if self.console.is_terminal:
            self.console.print(choices_table(course))

    def stepped(self, progress: Progress) -> None:
        looked = progress.held_out_loss is not None
        now = time.monotonic()
        if not self.console.is_terminal or not (looked or now > self.said + LINES_EVERY_SECONDS):
            return
        self.said = now
        held = f", held-out {progress.held_out_loss:.3f} nats a token" if looked else ""
        self.console.print(
            f"step {progress.step:,}/{progress.num_steps:,}: loss {progress.train_loss:.3f}{held}",
            style="dim",
            highlight=False,
        )


def choices_table(course: Course) -> Table:
    """Every number of the model and its training, and where it comes from."""
    table = Table("", "", "from", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for choice in course.choices:
        table.add_row(choice.name, choice.value, choice.source)
    return table


def print_pretrained(console: Console, made: Pretrained) -> None:
    """What the model is worth, beside `xz -9`, the curve, and what was chosen."""
    xz, course = made.xz, made.course
    console.print()
    console.print(f"{made.folder}: {made.bits_per_byte:.3f} bits per byte", style="bold")
    held = made.to_json()["held_out"]
    console.print(
        f"on {held['bytes']:,} bytes of {held['documents']} documents that it never saw; "
        f"{beside(made)}.",
        soft_wrap=True,
        highlight=False,
    )
    console.print()
    table = Table("step", "epoch", "bits per byte", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for point in made.points:
        table.add_row(f"{point.step:,}", f"{point.epoch:.2f}", f"{point.bits_per_byte:.3f}")
    console.print(table)
    console.print()
    console.print(choices_table(course))
    if made.best_step != made.points[-1].step:
        console.print(
            f"· Later on it got worse on them: the weights of step {made.best_step:,} were kept",
            style="dim",
        )
    for note in made.corpus.notes:
        console.print(f"· {note}", style="dim", soft_wrap=True, highlight=False)
    if made.trouble is not None:
        console.print(f"· Training ended early: {made.trouble}", style="dim", soft_wrap=True)
    if xz.after_training is None:
        console.print("· The training text is longer than what xz -9 looks back on", style="dim")
    console.print()


def beside(made: Pretrained) -> str:
    """The two figures of `xz -9`.

    "xz -9: 2.138 of that text alone, 1.714 of what it adds to the text that was learned from"
    """
    xz = made.xz
    text = f"xz -9: {xz.alone:.3f} of that text alone"
    if xz.after_training is not None:
        text += f", {xz.after_training:.3f} of what it adds to the text that was learned from"
    return text

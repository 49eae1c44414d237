"""`steelyard plan`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steelyard.cli.live import working
from steelyard.cli.options import HOME, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.core import Weights
from steelyard.errors import InputError, unknown
from steelyard.lifecycle.planning import plan
from steelyard.tasks.wording import money
from steelyard.training.planner import METHODS, Method, Option, Plan, Setup, Work

PRECISIONS: dict[str, Literal[16, 32]] = {"mixed": 32, "bf16": 16}


def command(  # noqa: PLR0913, PLR0917  its options are the command line
    model: Annotated[
        str, typer.Option(help="A folder, a .gguf file, a hub id in the cache, or a known name.")
    ] = "default",
    method: Annotated[
        str, typer.Option(help="What is trained: lora, qlora, full, head; or serve.")
    ] = "lora",
    seq: Annotated[int, typer.Option(min=1, help="Tokens of the longest row.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Rows at once on each device.")] = 1,
    gpus: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Such as a100-80, 2xrtx3090 or this; may be repeated."),
    ] = None,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute activations again on the way back.")
    ] = False,
    rank: Annotated[int, typer.Option(min=1, help="LoRA's rank.")] = Weights().rank,
    precision: Annotated[
        str, typer.Option(help="What is trained is kept in 32 bits (mixed) or in bf16.")
    ] = "mixed",
    rows: Annotated[int, typer.Option(min=1, help="Rows to train on.")] = Work().rows,
    epochs: Annotated[int, typer.Option(min=1, help="How often each is seen.")] = Work().epochs,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="What one device costs an hour.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure how fast this machine trains; takes a while.")
    ] = False,
    home: Annotated[Path, typer.Option("--home", help="Where a probe's speed is kept.")] = HOME,
    json: JsonPath = None,
) -> None:
    """Say what memory, devices, hours and money a model needs."""
    check_writable(json)
    if method not in METHODS:
        raise InputError(f"--method {method}: {unknown('method', method, METHODS)}")
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision}: {unknown('precision', precision, PRECISIONS)}")
    setup = Setup(
        cast(Method, method),
        seq=seq,
        batch=batch,
        checkpointing=checkpointing,
        rank=rank,
        stored="nf4-dq" if method == "qlora" else "bf16",
        trained_bits=PRECISIONS[precision],
    )
    with working("measuring how fast this machine trains") if probe else nullcontext():
        made = plan(
            model,
            setup,
            gpus=gpus or (),
            work=Work(rows, epochs),
            usd_per_hour=usd_per_hour,
            probe_in=home if probe else None,
        )
    print_plan(open_console(json), made)
    write_json(json, made.to_json())


def print_plan(console: Console, made: Plan) -> None:
    """The sentence, where the memory goes, the devices, and what to change."""
    first = made.options[0]
    console.print()
    colour = "green" if made.fits else "red"
    console.print(Text(made.sentence, style=f"bold {colour}"), soft_wrap=True)
    console.print()
    console.print(memory_table(first))
    console.print()
    console.print(devices_table(made))
    if first.remedies:
        console.print(Text("\nWhat would change it:", style="bold"))
        for remedy in first.remedies:
            fits = "fits" if remedy.fits else "does not fit"
            shared = "" if remedy.stage == "none" else f" ({remedy.stage})"
            line = f"· {remedy.change}: {remedy.bytes_then / 1e9:,.1f} GB, {fits}{shared}"
            console.print(Text(line, style="" if remedy.fits else "dim"))
    tokens = made.work.tokens(made.setup)
    note = (
        f"Times are for {made.work.rows:,} rows × {made.work.epochs} epochs × {made.setup.seq:,} "
        f"tokens = {tokens:,} tokens. First line: {first.speed_source}."
    )
    if made.setup.method != "serve":
        console.print(Text(f"\n{note}", style="dim"))
    console.print()


def memory_table(option: Option) -> Table:
    """Where the memory of one device goes."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("on each device" if option.count > 1 else "memory")
    table.add_column("GB", justify="right")
    memory = option.memory
    for name, size in memory.parts.items():
        table.add_row(name, f"{size / 1e9:,.2f}")
    table.add_row(f"worst moment: {memory.moment}", f"{memory.moments[memory.moment] / 1e9:,.2f}")
    table.add_row("driver, framework, holes", f"{memory.overhead / 1e9:,.2f}")
    table.add_row("all", f"{memory.total / 1e9:,.2f}", style="bold")
    return table


def devices_table(made: Plan) -> Table:
    """A row for each kind of device: how many, how full, how long, how much."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("device", no_wrap=True)
    for name in ("needed", "planned", "GB of each", "sharing", "most rows", "time", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for option in made.options:
        device = option.device
        table.add_row(
            device.name,
            "none fits" if option.needed is None else str(option.needed),
            str(option.count),
            f"{option.memory.total / 1e9:,.1f} / {device.memory_bytes / 1e9:,.1f}",
            option.stage,
            str(option.largest_batch),
            "" if option.hours is None else duration(option.hours),
            money(option.usd),
            style=None if option.fits else "dim",
        )
    return table


def duration(hours: float) -> str:
    """Hours in the unit that reads best.

    >>> duration(0.0025), duration(0.45), duration(30), duration(200)
    ('9 s', '27 min', '30 h', '8.3 days')
    """
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 2:
        return f"{hours * 60:.0f} min"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:,.1f} days"

"""How fast rows are learned: ours against TRL's SFTTrainer, in turns, on the same rows of ids.

    python bench/training.py --small            a look, in three minutes, without growth
    python bench/training.py                    half an hour: TRL's best settings are searched
    python bench/training.py --device cuda --shape 7b   sequences of 2,048, random weights

    short    ~41 tokens, nothing shared                                   ≥ 4 × TRL in tokens/s
    shared   300 tokens that all rows share, ~60 of their own             ≥ 12 × TRL in rows/s
    long     256 to 512 tokens, nothing shared                            ≥ 45 % of the peak
    growth   10 × the rows, in child processes, whole    ≤ 10.5 × the time, ≤ 1.15 × the memory

Both train LoRA of the same rank on all linear layers in steps of the same number of rows, in one
process, on as many threads. Only optimiser steps after a first one are timed; neither evaluates
or saves in them. "transformers" is Hugging Face's plain Trainer with the same adapters, another
choice of those who find TRL slow: on a CPU, TRL computes its loss over all positions.

How a share of the peak is counted is said in rows.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from steelyard.models import runtime  # before torch: it settles how threads wait

# isort: split

import torch

import growth
import rounds
import trl_peer
from base_models import SEQUENCE, SHAPES, Models, device, embedded, random_weights
from rounds import OURS, Contender, Work
from rows import LENGTHS, Lengths, Timed, flop_per_row, random_rows
from steelyard.core import Limits, Weights
from steelyard.training import Progress, batches, learner, loop
from steelyard.training.batches import Encoded
from steelyard.training.objective import Examples, Lesson
from trl_peer import Settings

SEED = 0


@dataclass(frozen=True)
class Size:
    """How much is done: rounds, timed steps of each turn, rows of a step, whether TRL's settings
    are searched, and the rows of the smaller child of `growth`."""

    rounds: int
    steps: int
    batch_size: int
    search: bool
    growth_rows: int


SIZES = {
    False: Size(rounds=3, steps=3, batch_size=16, search=True, growth_rows=128),
    True: Size(rounds=1, steps=1, batch_size=8, search=False, growth_rows=16),
}


# ---------------------------------------------------------------- the contenders


class _EnoughError(Exception):
    """Ours has done the steps that are timed."""


class Stopwatch:
    """A clock that runs in timed steps only."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def learn(decoder: Any, rows: Sequence[Encoded], weights: Weights, folder: Path, log: Any) -> None:
    """Our training, without rows held out; on a CPU within the memory that a task gives it."""
    learning, lesson = learner.begin(decoder, weights, seed=SEED), Lesson(Examples(), rows)
    if decoder.device.type == "cpu":
        batches.fit_memory(decoder, rows, Limits().memory_gb)
    loop.train(learning, lesson, weights=weights, seed=SEED, folder=folder, log=log)


def our_steps(decoder: Any, rows: Sequence[Encoded], weights: Weights, steps: int) -> Timed:
    """At least `steps` optimiser steps after a first one."""
    marks: list[tuple[int, float]] = []

    def log(progress: Progress) -> None:
        if not marks or progress.step >= marks[0][0] + steps:
            if decoder.device.type == "cuda":
                torch.cuda.synchronize()
            marks.append((progress.step, time.perf_counter()))
        if len(marks) == 2:
            raise _EnoughError

    with tempfile.TemporaryDirectory() as folder:
        try:
            learn(decoder, rows, weights, Path(folder), log)
        except _EnoughError:
            pass
        else:
            raise AssertionError("there were fewer steps than should be timed")
    (first, started), (last, ended) = marks
    learned = [
        rows[i]
        for step in range(first, last)
        for i in batches.rows_of_step(len(rows), weights.batch_size, step, SEED)
    ]
    return Timed(ended - started, len(learned), sum(map(len, learned)))


def compare(
    name: str, work: Work, lengths: Lengths, models: Models, size: Size, peers: Sequence[str]
) -> dict[str, Any]:
    """Ours and the peers in turns on one work; prints the table and returns its record."""
    weights = Weights("lora", batch_size=size.batch_size)
    # Twice the timed steps and more, so that ours neither evaluates nor saves between them.
    count = size.batch_size * (2 * size.steps + 6)
    config, tokenizer = models.config(), models.tokenizer()
    rows = random_rows(lengths, count, vocabulary=config.vocab_size)
    stopwatch = Stopwatch()

    def turn(time_steps: Callable[[], Timed]) -> Callable[[], float]:
        def one() -> float:
            timed = time_steps()
            stopwatch.seconds += timed.seconds
            return timed.units(work.unit)

        return one

    def ours() -> Timed:
        return our_steps(models.ours(), rows, weights, size.steps)

    def peer(settings: Settings, steps: int) -> Timed:
        return trl_peer.time_steps(
            models.peer(), tokenizer, rows, weights=weights, settings=settings, steps=steps
        )

    settings = trl_peer.usual(device(), size.batch_size)
    if size.search and peers:
        settings = trl_peer.fastest(lambda tried: peer(tried, 1), device(), size.batch_size)
    told = {name: replace(settings, trainer=name) for name in peers}
    contenders = [Contender(OURS, turn(ours))]
    contenders += [Contender(p, turn(partial(peer, told[p], size.steps))) for p in peers]
    peak = rounds.matmul_peak(rounds.dtype_name(), device=device())
    speeds = rounds.take_turns(contenders, size.rounds, clock=stopwatch)
    peak = max(peak, rounds.matmul_peak(rounds.dtype_name(), device=device()))
    flop = flop_per_row(config, lengths) / (1 if work.unit == "rows" else lengths.mean)
    # A beginning that is computed once makes the arithmetic of a row mean nothing.
    shown = None if lengths.shared else peak
    record = rounds.table(replace(work, flop_per_unit=flop), speeds, peak=shown)
    if peers:
        print(f"\nTRL with {settings}; {size.batch_size} rows a step.")
    return record | {"key": name, "settings": str(settings), "batch_size": size.batch_size}


# ---------------------------------------------------------------- growth


def child(num_rows: int) -> None:
    """Learn from some rows for one epoch, whole; print the seconds and the peak of memory."""
    models = embedded()
    decoder = models.ours()
    rows = random_rows(LENGTHS["growth"], num_rows, vocabulary=models.config().vocab_size)
    weights = Weights("lora", epochs=1)
    growth.forget_peak()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        learn(decoder, rows, weights, Path(folder), lambda _: None)
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak MB": growth.peak_mb()}))


def grown(size: Size) -> dict[str, Any]:
    """Time and peak memory of ten times the rows, against the rows."""
    few, many = size.growth_rows, size.growth_rows * growth.TIMES
    found: dict[int, list[dict[str, float]]] = {few: [], many: []}
    for _ in range(size.rounds):
        for num_rows, runs in found.items():
            command = (sys.executable, __file__, "--child", str(num_rows))
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    record = growth.summary(found[few], found[many])
    lines = [["", f"{few:,} rows", f"{many:,} rows", "ratio", "goal"]]
    for what, seen in record.items():
        figures = [rounds.figure(seen[side]) for side in ("few", "many")]
        goal = f"≤ {seen['goal']:g}×: {rounds.met(seen)}"
        lines.append([what, *figures, f"{seen['times']:.3g}×", goal])
    rounds.print_lines(f"growth, an epoch of training, {size.rounds} rounds", lines)
    return {"work": "growth, training", "num_rows": few, **record}


# ---------------------------------------------------------------- the script


def on_embedded(names: Sequence[str], size: Size) -> list[dict[str, Any]]:
    """The works of the issue, on the embedded model."""
    peers: tuple[str, ...] = ("trl",) if not size.search else ("trl", "transformers")
    works = {
        "short": (Work("LoRA, short rows", unit="tokens", goals={"trl": 4}), peers),
        "shared": (Work("LoRA, rows sharing 300 tokens", unit="rows", goals={"trl": 12}), peers),
        "long": (Work("LoRA, long rows", unit="tokens", share_goal=0.45), ()),
    }
    models = embedded()
    records = [
        compare(name, work, LENGTHS[name], models, size, peers)
        for name, (work, peers) in works.items()
        if name in names
    ]
    return records + ([grown(size)] if "growth" in names else [])


def on_random(shape: str, size: Size) -> list[dict[str, Any]]:
    """Long sequences on random weights of a shape."""
    length = SEQUENCE[shape]
    lengths = Lengths(own=(length * 3 // 4,) * 2, target=(length // 4,) * 2)
    work = Work(f"LoRA, {shape}, sequences of {length:,}", unit="tokens", share_goal=0.45)
    with tempfile.TemporaryDirectory() as folder:
        models = random_weights(shape, Path(folder))
        return [compare(shape, work, lengths, models, size, ("trl",))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one round, few rows, no search")
    parser.add_argument("--only", nargs="+", choices=list(LENGTHS))
    parser.add_argument("--shape", choices=["embedded", *SHAPES], default="embedded")
    parser.add_argument("--device", choices=["cpu", "cuda"], default=device())
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--child", type=int, metavar="ROWS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device != device():
        parser.error(f"--device {options.device}: models are opened on {device()} here")
    if options.child:
        runtime.keep_memory()
        child(options.child)
        return
    runtime.keep_memory()  # as the training child does, for all contenders
    size = SIZES[options.small]
    print(rounds.machine())
    if options.shape == "embedded":
        names = options.only or [n for n in LENGTHS if n != "growth" or not options.small]
        records = on_embedded(names, size)
    else:
        records = on_random(options.shape, size)
    rounds.save(options.json, records)


if __name__ == "__main__":
    main()

"""What every speed benchmark shares: contenders in turn, medians, paired ratios, share of peak.

The machine is never quiet, so contenders take turns in every round and a ratio is taken within a
round, between neighbours in time; what is printed is the median of those ratios. Printed for

    table(Work("labels", unit="rows", goals={"generate": 10}), speeds, peak=790)

    ### labels, 3 rounds

    | contender | rows/s | min–max | steelyard is | goal |
    |---|---|---|---|---|
    | steelyard | 31.0 | 30.2–31.4 |  |  |
    | generate | 3.00 | 2.90–3.05 | 10.3× | ≥ 10×: met |
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from steelyard.lifecycle.machine import hardware, versions
from steelyard.models.loading import number_type

OURS = "steelyard"
# Rows, inner and columns of products X·Wᵀ. The square ones are where a library is at its best;
# the others are SmolLM2-135M's layers (width 576, inner width 1536) under a few thousand tokens.
SHAPES = {
    "cpu": (
        (1024, 1024, 1024),
        (2048, 2048, 2048),
        (4096, 4096, 4096),
        (4096, 576, 1536),
        (4096, 1536, 576),
        (2048, 576, 576),
    ),
    "cuda": ((4096, 4096, 4096), (8192, 8192, 8192), (8192, 4096, 11008)),
}


@dataclass(frozen=True)
class Contender:
    """Something that does the work once and says how many units (rows, tokens) it did."""

    name: str
    work: Callable[[], float]


@dataclass(frozen=True)
class Work:
    """What is measured: its unit, and what ours should reach.

    `goals` holds, per peer, how many times its speed ours should have; `flop_per_unit` the
    arithmetic that a unit needs, the same for every contender; `share_goal` what share of the
    measured peak ours should reach.
    """

    name: str
    unit: str
    goals: Mapping[str, float] = field(default_factory=dict)
    flop_per_unit: float | None = None
    share_goal: float | None = None


def take_turns(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Units per second of each contender, one figure per round, after a warm-up of each.

    Who begins changes from round to round, so that no one always follows the same neighbour.
    """
    for contender in contenders:
        contender.work()
    speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            started = clock()
            units = contender.work()
            speeds[contender.name].append(units / (clock() - started))
            last = speeds[contender.name][-1]
            print(f"round {number + 1}: {contender.name} {figure(last)}/s", file=sys.stderr)
    return speeds


def ratio(speeds: Mapping[str, Sequence[float]], name: str, baseline: str) -> float:
    """How many times as fast `name` is as `baseline`: the median of the rounds' own ratios."""
    return median(a / b for a, b in zip(speeds[name], speeds[baseline], strict=True))


def table(
    work: Work,
    speeds: Mapping[str, Sequence[float]],
    *,
    ours: str = OURS,
    peak: float | None = None,
) -> dict[str, Any]:
    """Print the table of one work; what it says comes back as a JSON object.

    Units: `peak` in GFLOP/s. A share is of that peak, counting `work.flop_per_unit` for each unit
    whatever a contender really computed.
    """
    rounds = len(next(iter(speeds.values())))
    shares = peak is not None and work.flop_per_unit is not None
    header = ["contender", f"{work.unit}/s", "min–max", f"{ours} is", "goal"]
    lines = [header + ["of peak"] * shares]
    record: dict[str, Any] = {"work": work.name, "unit": work.unit, "peak_gflops": peak}
    record |= {"flop_per_unit": work.flop_per_unit, "contenders": {}}
    for name, values in speeds.items():
        found: dict[str, Any] = {"per_second": list(values), "median": median(values)}
        times = goal = ""
        if name != ours and ours in speeds:
            found["times"] = ratio(speeds, ours, name)
            times = f"{figure(found['times'])}×"
            if name in work.goals:
                found |= judged(found["times"], work.goals[name])
                goal = f"≥ {work.goals[name]:g}×: {met(found)}"
        share = ""
        if peak is not None and work.flop_per_unit is not None:
            found["share"] = found["median"] * work.flop_per_unit / (peak * 1e9)
            share = f"{found['share']:.0%}"
            if name == ours and work.share_goal is not None:
                found |= judged(found["share"], work.share_goal)
                goal = f"≥ {work.share_goal:.0%} of peak: {met(found)}"
        spread = f"{figure(min(values))}–{figure(max(values))}"
        lines.append([name, figure(found["median"]), spread, times, goal] + [share] * shares)
        record["contenders"][name] = found
    print_lines(f"{work.name}, {rounds} rounds", lines)
    return record


def judged(value: float, goal: float) -> dict[str, Any]:
    """A figure that should be at least `goal`, as fields of a record."""
    return {"goal": goal, "met": value >= goal}


def met(found: Mapping[str, Any]) -> str:
    return "met" if found["met"] else "not met"


def print_lines(title: str, lines: Sequence[Sequence[str]]) -> None:
    """A Markdown table under a title."""
    print("\n".join(["", f"### {title}", "", *markdown(lines)]), flush=True)


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table with its header in the first one.

    >>> markdown([("a", "b"), ("1", "2")])
    ['| a | b |', '|---|---|', '| 1 | 2 |']
    """
    head, *rows = (f"| {' | '.join(line)} |" for line in lines)
    return [head, "|---" * len(lines[0]) + "|", *rows]


def figure(value: float) -> str:
    """A number with three figures that count: 1234.5 → "1,234", 31.04 → "31.0"."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def matmul_peak(dtype: str = "bfloat16", seconds: float = 0.3, device: str = "cpu") -> float:
    """The best of several matrix products on this many torch threads. Units: GFLOP/s.

    `seconds` is spent on each shape, and the fastest single product of all counts: a peak measured
    too low would flatter every share.
    """
    best = 0.0
    for rows, inner, columns in SHAPES[device]:
        x = torch.randn(rows, inner, device=device).to(getattr(torch, dtype))
        w = torch.randn(columns, inner, device=device).to(x.dtype)
        torch.nn.functional.linear(x, w)
        until = time.perf_counter() + seconds
        fastest = float("inf")
        while fastest == float("inf") or time.perf_counter() < until:
            _wait(device)
            started = time.perf_counter()
            torch.nn.functional.linear(x, w)
            _wait(device)
            fastest = min(fastest, time.perf_counter() - started)
        best = max(best, 2 * rows * inner * columns / fastest / 1e9)
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def dtype_name() -> str:
    """The precision of all contenders here: bfloat16 where it is native, float32 elsewhere."""
    return str(number_type()).removeprefix("torch.")


def machine() -> str:
    """What the figures were measured on, in one line."""
    threads = f"{torch.get_num_threads()} threads"
    return f"{hardware()}; torch {torch.__version__}, {dtype_name()}, {threads}"


def save(path: Path | None, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the records as one JSON object with the machine, when a path was given."""
    if path is not None:
        whole = {"machine": machine(), "versions": versions(), "results": list(records)}
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

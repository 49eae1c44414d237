"""How time and memory of ours grow with ten times the rows, each measured in a fresh process.

    python bench/growth.py labels 640      one measurement, as a JSON object

The time is that of answering alone, in a process that has answered a few rows before. The memory
is the most that the whole process held meanwhile, model and libraries included (Linux counts it).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

# Enough rows to fill a batch, or nearly: the resumes are 480, less the warm-up's.
NUM_ROWS = {"labels": 64, "json": 47}
TIMES = 10
WARM_UP_ROWS = 4
TIME_GOAL, MEMORY_GOAL = 10.5, 1.15


def measure(num_rows_of: Mapping[str, int], num_rounds: int) -> list[dict[str, Any]]:
    """Measure each work at both sizes, in turn, and print by how much the larger one costs more."""
    import rounds  # which loads torch; a child of ingest.py does without

    records = []
    for name, num_rows in num_rows_of.items():
        few, many = [], []
        for _ in range(num_rounds):
            few.append(_in_child(name, num_rows))
            many.append(_in_child(name, num_rows * TIMES))
        record = summary(few, many)
        rounds.print_lines(
            f"growth, {name}, {num_rows} and {num_rows * TIMES} rows, {num_rounds} rounds",
            [["", f"{num_rows} rows", f"{num_rows * TIMES} rows", "ratio", "goal"]]
            + [
                [
                    what,
                    rounds.figure(found["few"]),
                    rounds.figure(found["many"]),
                    f"{found['times']:.3g}×",
                    f"≤ {found['goal']:g}×: {rounds.met(found)}",
                ]
                for what, found in record.items()
            ],
        )
        records.append({"work": f"growth, {name}", "num_rows": num_rows, **record})
    return records


def summary(few: Sequence[dict[str, float]], many: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians of both sizes and the median of the rounds' own ratios, beside the goals."""
    record = {}
    for what, goal in (("seconds", TIME_GOAL), ("peak MB", MEMORY_GOAL)):
        a, b = [one[what] for one in few], [one[what] for one in many]
        times = median(y / x for x, y in zip(a, b, strict=True))
        record[what] = {
            "few": median(a),
            "many": median(b),
            "times": times,
            "goal": goal,
            "met": times <= goal,
        }
    return record


def _in_child(name: str, num_rows: int) -> dict[str, float]:
    command = (sys.executable, __file__, name, str(num_rows))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def forget_peak() -> None:
    """Let the peak count from here on: loading a model holds more than answering does."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """The most memory held since then. Not ru_maxrss, which counts what the parent held too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """The child: answer once, and say how long it took and what it held."""
    import answering
    from steelyard.core import ModelSpec
    from steelyard.models import open_backend

    name, num_rows = sys.argv[1], int(sys.argv[2])
    backend = open_backend(ModelSpec("default", "default"))
    asked = answering.asked_of(name, WARM_UP_ROWS + num_rows, backend)
    answering.ours(backend, replace(asked, prompts=asked.prompts[:WARM_UP_ROWS]))
    rest = replace(asked, prompts=asked.prompts[WARM_UP_ROWS:])
    assert len(rest.prompts) == num_rows
    forget_peak()
    started = time.perf_counter()
    answering.ours(backend, rest)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak MB": peak_mb()}))


if __name__ == "__main__":
    main()

"""Parts of a step side by side.

    rows ─┬─ lane 0: the shortest, the third … ─→ ─┐
          └─ lane 1: the second, the fourth … ──→ ─┴─→ in this order

Threads that share a product wait for each other at each of them, a thousand times a step; lanes
wait once. A step of the demo takes three quarters of the time (docs/performance.md). Each lane has
its share of the threads, and of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
import torch.distributed as dist

from steelyard.models.decoder import Decoder

LANES = 2  # of which each has half of the threads; more were not measured. Source: ours

Row = TypeVar("Row", bound=Sized)
Found = TypeVar("Found")


def part(rows: Sequence[Row], number: int, of: int) -> Sequence[Row]:
    """One of several parts of the rows, each about as long together as the others."""
    return rows if of == 1 else sorted(rows, key=len)[number::of]


def run(
    decoder: Decoder, rows: Sequence[Row], work: Callable[[Sequence[Row]], Found]
) -> list[Found]:
    """What `work` makes of each part of the rows, as many as the decoder has lanes."""
    parts = [part(rows, lane, decoder.lanes) for lane in range(min(decoder.lanes, len(rows)))]
    if len(parts) < 2:
        return [work(rows)]
    threads = torch.get_num_threads()

    def share() -> None:
        torch.set_num_threads(max(1, threads // len(parts)))

    try:
        with ThreadPoolExecutor(len(parts), initializer=share) as pool:
            return list(pool.map(work, parts))
    finally:
        torch.set_num_threads(threads)  # a thread's own count, but some libraries have one for all


def allowed(decoder: Decoder) -> bool:
    """Whether parts of a step can run side by side: of an adapter, on a CPU with a thread for each
    lane, without dropout, whose chance all threads would share, and in a process that trains alone:
    those that lend each other weights must ask for them in the same order."""
    adapts = decoder.switch.active is not None and not decoder.switch.dropout
    alone = not (dist.is_available() and dist.is_initialized())
    threads = torch.get_num_threads() >= LANES
    return adapts and alone and threads and decoder.device.type == "cpu"

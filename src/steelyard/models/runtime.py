"""How this process waits and keeps memory, settled before torch is loaded.

A thread that waits for the others of a product first looks again and again, then sleeps. Sleeping
at once, as OMP_WAIT_POLICY=passive has it, costs a waking up at every small step: training on
short rows was a third slower. Looking for ever, which is the default, stalls a machine with a busy
neighbour. So it looks for a moment: beside two other busy processes two threads then take 1.2 times
as long as one, and not twice.

Memory that was freed goes back to the system and has to be cleared and mapped again a moment later.
Training, whose steps ask for the same sizes again and again, keeps it, in large pages. Answering
does not: its sizes differ, and pieces of them would pile up between others, so every call gives
back what it leaves.

Figures: docs/performance.md.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache

WAITING = {
    "OMP_WAIT_POLICY": "passive",  # for other OpenMP runtimes than GNU's, which have no count
    "GOMP_SPINCOUNT": "1000",  # Source: ours, docs/performance.md
}
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch's own name
# The parameters of mallopt(3). 32 MiB is the most that its threshold for own mappings takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAPPED_FROM = 32 * 2**20
NEVER = 2**31 - 1


def settle_waiting() -> None:
    """For this process, if torch is not loaded yet, and its children; what the user set stays."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


def keep_memory() -> None:
    """For this process, before torch holds any; with glibc only."""
    os.environ.setdefault(LARGE_PAGES, "1")
    mallopt = _of_glibc("mallopt")
    mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)
    mallopt(M_TRIM_THRESHOLD, NEVER)


def give_back() -> None:
    """Whole pages of freed memory, wherever they are; with glibc only."""
    _of_glibc("malloc_trim")(0)


@cache
def _of_glibc(name: str) -> Callable[..., object]:
    """A function of the C library, or one that does nothing where that is another."""
    try:
        found: Callable[..., object] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return lambda *_: None
    return found

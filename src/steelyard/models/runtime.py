"""How this process waits and keeps memory, settled before torch is loaded.

A thread that waits for the others of a product first looks again and again, then sleeps. Sleeping
at once, as OMP_WAIT_POLICY=passive has it, costs a waking up at every small step: training on
short rows was a third slower. Looking for ever, which is the default, stalls a machine with a busy
neighbour. So it looks for a few microseconds.

Memory that was freed goes back to the system by default and has to be cleared and mapped again a
moment later; here it stays with the process, in large pages.

Figures: docs/performance.md.
"""

from __future__ import annotations

import ctypes
import os

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",  # for other OpenMP runtimes than GNU's, which have no count
    "GOMP_SPINCOUNT": "10000",  # Source: ours, docs/performance.md
    "THP_MEM_ALLOC_ENABLE": "1",  # torch: large pages for large tensors
}
# The parameters of mallopt(3). 32 MiB is the most that its threshold for own mappings takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAPPED_FROM = 32 * 2**20
NEVER = 2**31 - 1


def settle() -> None:
    """Settle both for this process and its children; what the user has set stays.

    Waiting is settled only where torch is not loaded yet, memory with glibc only.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # not glibc
    mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)
    mallopt(M_TRIM_THRESHOLD, NEVER)

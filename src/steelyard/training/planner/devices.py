"""What can be rented or is there: memory, speed and price of named GPUs, and this machine.

Memory is what the driver reports, not the name's round number. Speed is the dense peak of 16-bit
products with tensor cores (bf16; fp16 where the card has no bf16). Prices are round figures of what
one hour of one card cost on demand; `--usd-per-hour` replaces them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.errors import InputError, unknown
from steelyard.models.processor import multiplies_bfloat16, processor_name
from steelyard.training.planner.memory import CONTEXT_BYTES, Setup

# Python, torch, and freed memory that is kept. Source: ours, docs/log/2026-11-26-planner.md
PROCESS_BYTES = 1.2e9
USD_PER_MACHINE_HOUR = 0.10  # as in a task without [limits]. Source: docs/task-file.md
THIS = "this"
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Device:
    """One device. `peak_flops` is None where only a probe can tell; `own_type` is the type of
    frozen weights on this machine, and `words` are its own for what it is.

    Units: bytes; floating-point operations a second; US dollars an hour.
    """

    name: str
    memory_bytes: float
    peak_flops: float | None
    usd_per_hour: float
    context_bytes: float = CONTEXT_BYTES
    own_type: str | None = None
    words: str = ""

    @property
    def is_rented(self) -> bool:
        return self.name != THIS

    @property
    def is_gpu(self) -> bool:
        return self.context_bytes == CONTEXT_BYTES

    def adapted(self, setup: Setup) -> Setup:
        """What was asked for as this device does it: on this machine Steelyard trains, whose loss
        never holds the logits of all tokens, in the type that the processor multiplies."""
        if self.own_type is None:
            return setup
        return replace(setup, fused_loss=True, stored=self.own_type)


def _gpu(name: str, memory_mib: int, peak_tflops: float, usd_per_hour: float) -> Device:
    return Device(name, memory_mib * 2**20, peak_tflops * 1e12, usd_per_hour)


# Source of memory: what nvidia-smi reports; of peaks: NVIDIA's data sheets (without sparsity; for
# the GeForce cards the Ampere and Ada architecture papers, accumulating in 32 bits); of prices:
# ours, round figures of several renters' price lists in 2025.
_TABLE = (
    _gpu("t4", 15_360, 65, 0.35),
    _gpu("v100-16", 16_384, 125, 0.60),
    _gpu("v100-32", 32_768, 125, 0.90),
    _gpu("rtx3090", 24_576, 71, 0.30),
    _gpu("rtx4090", 24_564, 165, 0.50),
    _gpu("a10", 23_028, 125, 0.75),
    _gpu("l4", 23_034, 121, 0.70),
    _gpu("l40s", 46_068, 362, 1.00),
    _gpu("a6000", 49_140, 155, 0.80),
    _gpu("a100-40", 40_960, 312, 1.30),
    _gpu("a100-80", 81_920, 312, 1.80),
    _gpu("h100-80", 81_559, 989, 3.00),
    _gpu("h200", 143_771, 989, 3.80),
)
GPUS = {device.name: device for device in _TABLE}


def this_machine() -> Device:
    """Where Steelyard trains here: the first NVIDIA GPU if there is one, else the processor with
    the memory that a process here may use at all.
    """
    if gpu := _own_gpu():
        name, mib = gpu
        size = mib * 2**20
        return Device(THIS, size, None, USD_PER_MACHINE_HOUR, own_type="bf16", words=name)
    words = f"{os.cpu_count()} × {processor_name()}"
    own_type = "bf16" if multiplies_bfloat16() else "fp32"
    size = machine_memory_bytes()
    return Device(THIS, size, None, USD_PER_MACHINE_HOUR, PROCESS_BYTES, own_type, words)


def _own_gpu() -> tuple[str, int] | None:
    """Name and mebibytes of this machine's first NVIDIA GPU."""
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    query = ["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(  # noqa: S603  the driver's own program, no shell
            [program, *query], capture_output=True, text=True, timeout=30, check=True
        )
        name, _, mib = ran.stdout.splitlines()[0].rpartition(",")
        return name.strip(), int(mib)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None  # a driver without a GPU


def machine_memory_bytes() -> int:
    """Installed memory, or what this container may use if that is less."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in CGROUP_LIMITS:
        try:
            return min(installed, int(Path(name).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return installed


def describe(device: Device) -> str:
    """The device in words, as a plan's sentence names it."""
    size = f"{device.memory_bytes / 1e9:.0f} GB"
    if device.is_rented:
        return f"{device.name} ({size})"
    return f"this machine ({device.words}, {size})"


def parse_device(text: str) -> tuple[Device, int | None]:
    """A device and how many of it: "a100-80" (as many as are needed), "2xrtx3090", "this".

    Raises:
        InputError: it is not known.
    """
    count, times, name = text.strip().lower().partition("x")
    if not (times and count.isdigit()):
        count, name = "", text.strip().lower()
    if count and not int(count):
        raise InputError(f"--gpus {text}: expected at least one, such as 2x{name}")
    if name == THIS:
        if count not in ("", "1"):
            raise InputError(f"--gpus {text}: there is one of this machine; expected {THIS}")
        return this_machine(), 1
    if name not in GPUS:
        raise InputError(f"--gpus {text}: {unknown('GPU', name, (THIS, *GPUS))}")
    return GPUS[name], int(count) if count else None

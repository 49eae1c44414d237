"""What this runs on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from steelyard.models.processor import processor_name

PACKAGES = ("steelyard", "torch", "transformers", "llguidance", "numpy", "scikit-learn")


def hardware() -> str:
    """The machine in a few words: "2 × AMD EPYC, 23 GB"."""
    return f"{os.cpu_count() or 1} × {processor_name()}, {_memory_gb()} GB{_gpu()}"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that answers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _gpu() -> str:
    names = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return f", {len(names)} NVIDIA GPU" if names else ""

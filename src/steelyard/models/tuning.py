"""The number type in which this machine calculates fastest, found by a short probe.

It decides the answers, so it is measured once and kept in the cache folder. The number of threads
decides them too, where a product splits its sums among them (oneDNN does with tiles), so it is
never chosen by a clock: it is torch's, or the user's OMP_NUM_THREADS.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from steelyard.models.processor import processor_name

ROUNDS = 5
CLEARLY_FASTER = 1.2  # by which factor, for bfloat16. Source: ours

T = TypeVar("T")


def number_type(cache: Path) -> torch.dtype:
    """bfloat16 where its products are clearly faster here, else float32; the same every time.

    `cache` is a folder that may or may not exist, and may not be writable.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    file = cache / "number-type.json"
    machine = f"{platform.machine()} {processor_name()} torch {torch.__version__}"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict) or known.get(machine) not in ("bfloat16", "float32"):
        others = known if isinstance(known, dict) else {}
        known = {**others, machine: str(_faster_type()).removeprefix("torch.")}
        try:
            cache.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(known), encoding="utf-8")
            partial.replace(file)
        except OSError:
            pass  # it is measured again next time
    return torch.bfloat16 if known[machine] == "bfloat16" else torch.float32


def _faster_type() -> torch.dtype:
    square = torch.ones(512, 512)
    pairs = {dtype: square.to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    took = _seconds(list(pairs), lambda dtype: pairs[dtype] @ pairs[dtype])
    worth = took[0] > CLEARLY_FASTER * took[1]
    return torch.bfloat16 if worth else torch.float32


def _seconds(choices: Sequence[T], work: Callable[[T], object]) -> list[float]:
    """How long each choice takes: the middle one of some rounds, in turn."""
    seconds: list[list[float]] = [[] for _ in choices]
    for _ in range(ROUNDS):
        for place, choice in enumerate(choices):
            started = time.perf_counter()
            work(choice)
            seconds[place].append(time.perf_counter() - started)
    return [sorted(own)[ROUNDS // 2] for own in seconds]

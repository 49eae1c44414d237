"""Whether it fits, on how many devices, and with how many rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from steelyard.training.planner.devices import Device
from steelyard.training.planner.facts import ModelFacts
from steelyard.training.planner.memory import Memory, Setup, memory

STAGES = ("none", "zero-1", "zero-2", "zero-3")
MOST_DEVICES = 1024  # a plan for more is of another kind. Source: ours
MOST_ROWS = 4096


def on_device(facts: ModelFacts, setup: Setup, device: Device, count: int, stage: int) -> Memory:
    """What each of `count` devices must hold."""
    context = device.context_bytes
    return memory(facts, setup, devices=count, stage=stage, context_bytes=context)


def stages(count: int) -> range:
    """The ways of sharing that make a difference: one device has nobody to share with."""
    return range(len(STAGES) if count > 1 else 1)


def mildest_stage(facts: ModelFacts, setup: Setup, device: Device, count: int) -> int | None:
    """The first way of sharing among `count` devices that fits; None where none does."""
    for stage in stages(count):
        if on_device(facts, setup, device, count, stage).total <= device.memory_bytes:
            return stage
    return None


def devices_needed(facts: ModelFacts, setup: Setup, device: Device) -> int | None:
    """The smallest number of devices that fits; None where none does."""
    most = MOST_DEVICES if device.is_rented else 1
    return smallest(lambda count: mildest_stage(facts, setup, device, count) is not None, most)


def largest_batch(facts: ModelFacts, setup: Setup, device: Device, count: int) -> int:
    """The most rows that each device takes at once; 0 where not even one fits."""

    def too_many(rows: int) -> bool:
        return mildest_stage(facts, replace(setup, batch=rows), device, count) is None

    first = smallest(too_many, MOST_ROWS)
    return MOST_ROWS if first is None else first - 1


def longest_rows(facts: ModelFacts, setup: Setup, device: Device, count: int) -> int:
    """The longest rows, in tokens, that fit and are no longer than now; 0 where none are."""

    def too_long(seq: int) -> bool:
        return mildest_stage(facts, replace(setup, seq=seq), device, count) is None

    first = smallest(too_long, setup.seq)
    return setup.seq if first is None else first - 1


def smallest(holds: Callable[[int], bool], most: int) -> int | None:
    """The smallest number from 1 to `most` that `holds`, where it holds for all larger ones too.

    >>> smallest(lambda n: n * n >= 30, 100), smallest(lambda n: n > 5, 5)
    (6, None)
    """
    if not holds(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

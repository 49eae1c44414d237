"""What to change where it does not fit, in the order in which it costs least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from steelyard.training.planner.devices import Device
from steelyard.training.planner.facts import ModelFacts
from steelyard.training.planner.fitting import (
    STAGES,
    devices_needed,
    largest_batch,
    longest_rows,
    mildest_stage,
    on_device,
    stages,
)
from steelyard.training.planner.memory import QUANTISED, TRAINING, Setup


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, what each device must then hold, whether that fits, and how it is shared."""

    change: str
    bytes_then: float
    fits: bool
    stage: str


def remedies(facts: ModelFacts, setup: Setup, device: Device, count: int) -> tuple[Remedy, ...]:
    """First what changes no result, each on top of the last, until it fits; then, on top of these
    and one at a time, what trains something else or costs more.
    """

    def tried(change: str, changed: Setup, number: int = count) -> Remedy:
        stage = mildest_stage(facts, changed, device, number)
        shown = stages(number)[-1] if stage is None else stage
        need = on_device(facts, changed, device, number, shown)
        return Remedy(change, need.total, stage is not None, STAGES[shown])

    found: list[Remedy] = []
    for change, changed in _same_result(facts, setup, device, count):
        setup = changed
        found.append(tried(change, setup))
        if found[-1].fits:
            break
    found += [tried(change, changed) for change, changed in _another_result(setup, device)]
    longest = longest_rows(facts, setup, device, count)
    if 0 < longest < setup.seq:
        change = f"rows of at most {longest:,} tokens (--seq {longest})"
        found.append(tried(change, replace(setup, seq=longest)))
    needed = devices_needed(facts, setup, device)
    if needed is not None and needed > count:
        change = f"{needed} of them (--gpus {needed}x{device.name})"
        found.append(tried(change, setup, needed))
    return tuple(found)


def _same_result(
    facts: ModelFacts, setup: Setup, device: Device, count: int
) -> Iterator[tuple[str, Setup]]:
    if setup.method in TRAINING and not setup.checkpointing:
        setup = replace(setup, checkpointing=True)
        yield "compute activations again on the way back (--checkpointing)", setup
    if setup.batch > 1:
        rows = max(1, largest_batch(facts, setup, device, count))
        if rows < setup.batch:
            times = -(-setup.batch // rows)
            what = f"--batch {rows}"
            if setup.method in TRAINING:
                what += f", gradients of {times} passes summed"
            setup = replace(setup, batch=rows)
            yield f"{rows} {'row' if rows == 1 else 'rows'} at once ({what})", setup
    if setup.method in TRAINING and not setup.fused_loss:
        setup = replace(setup, fused_loss=True)
        yield "a loss that never holds all logits (fused or chunked cross-entropy)", setup


def _another_result(setup: Setup, device: Device) -> Iterator[tuple[str, Setup]]:
    if setup.method == "full":
        if device.is_rented:
            yield "Adam's moments in 8 bits", replace(setup, optimiser="adamw-8bit")
            if setup.trained_bits > 16:
                pure = replace(setup, trained_bits=16)
                yield "bfloat16 throughout (--precision bf16)", pure
        setup = replace(setup, method="lora")
        yield "adapters instead of all weights (--method lora)", setup
    if not device.is_rented or setup.stored in QUANTISED:
        return
    quantised = replace(setup, stored="nf4-dq")
    if setup.method == "serve":
        yield "weights in 4 bits", quantised
    elif setup.method == "lora":
        change = "adapters beside weights in 4 bits (--method qlora)"
        yield change, replace(quantised, method="qlora")

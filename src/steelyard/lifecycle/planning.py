"""`plan`: what training or serving a model needs. Nothing but a probe's speed is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from steelyard.core import ModelSpec, Recipe, Task, Weights
from steelyard.errors import DoesNotFitError, InputError, SteelyardError
from steelyard.models import is_fake, locate
from steelyard.recipes import model_of
from steelyard.training.planner import (
    GPUS,
    METHODS,
    THIS,
    Device,
    Method,
    ModelFacts,
    Plan,
    Setup,
    Work,
    make_plan,
    mildest_stage,
    parse_device,
    probed_speed,
    read_facts,
    this_machine,
    training_flops,
)

PROBES = "probes"

CHARACTERS = 8  # of one token at most, on average: few texts have longer ones. Source: ours


def plan(
    model: str = "default",
    setup: Setup | None = None,
    *,
    gpus: Sequence[str] = (),
    work: Work | None = None,
    usd_per_hour: float | None = None,
    probe_in: Path | None = None,
) -> Plan:
    """Whether `setup` fits, on how many of which devices, for how long and how much.

    Without a setup: adapters, rows of 512 tokens, one at a time. `gpus` are names such as
    "a100-80", "2xrtx3090" or "this"; without any it is planned for this machine and for every GPU
    of the table. With a home folder in `probe_in` the speed of this machine is measured, once, and
    kept there.

    Raises:
        ModelError: the model's sizes are not known, or of a kind that the formulas do not cover.
        InputError: a device that is not known, or cannot do this; rows longer than the context.
    """
    facts = read_facts(model)
    setup = setup or Setup("lora", seq=512)
    _check(facts, setup)
    devices = [parse_device(name) for name in gpus] or _all_devices(setup)
    if setup.method == "qlora" and any(device.name == THIS for device, _ in devices):
        raise InputError(
            f"--gpus {THIS}: training beside weights in 4 bits is planned for rented NVIDIA GPUs "
            f"only; expected --method lora here, or another of {', '.join(GPUS)}"
        )
    if usd_per_hour is not None:
        devices = [(replace(device, usd_per_hour=usd_per_hour), n) for device, n in devices]
    here = any(device.name == THIS for device, _ in devices)
    flops = None
    if here and probe_in is not None and setup.method != "serve":
        flops = _flops_here(model, facts, setup, probe_in / PROBES)
    return make_plan(facts, setup, devices, work=work or Work(), flops_here=flops)


def check_memory(recipe: Recipe, task: Task) -> None:
    """Nothing where `recipe` trains nothing, or may fit, or its model's sizes are not known.

    Raises:
        DoesNotFitError: this machine has not even that much, with the plan as the reason.
    """
    if recipe.weights.method in METHODS:
        longest = max(len(example.input) for example in task.train)
        check_room(model_of(task, recipe), recipe.weights, longest)


def check_room(model: ModelSpec, weights: Weights, longest: int) -> None:
    """Whether this machine may have room to train; nothing where the model's sizes are not known.

    What is counted is the least that training could do with: one row at a time, layers computed
    twice, and rows no longer than a token for each `CHARACTERS` of the longest.

    Raises:
        DoesNotFitError: it has not even that much, with the plan as the reason.
    """
    if model.url is not None or is_fake(model.source):
        return
    try:
        facts = read_facts(model.source)
    except InputError:
        return
    seq = max(1, longest // CHARACTERS)
    setup = Setup(
        cast(Method, weights.method),  # it is in METHODS
        seq=min(seq, facts.context_tokens or seq),
        checkpointing=True,
        rank=weights.rank,
    )
    made = make_plan(facts, setup, [(this_machine(), 1)])
    if not made.fits:
        raise DoesNotFitError(made.sentence)


def _check(facts: ModelFacts, setup: Setup) -> None:
    if facts.context_tokens is not None and setup.seq > facts.context_tokens:
        raise InputError(
            f"--seq {setup.seq}: {facts.name} holds {facts.context_tokens} tokens; "
            f"expected at most that"
        )


def _all_devices(setup: Setup) -> list[tuple[Device, int | None]]:
    rented: list[tuple[Device, int | None]] = [(device, None) for device in GPUS.values()]
    return rented if setup.method == "qlora" else [(this_machine(), 1), *rented]


def _flops_here(model: str, facts: ModelFacts, setup: Setup, folder: Path) -> float | None:
    """Operations a second of this machine while it trains `model`, or else the default model.

    None where neither can be run.
    """
    machine = this_machine()
    small = mildest_stage(facts, machine.adapted(setup), machine, 1) is not None
    for source in dict.fromkeys([model, "default"] if small else ["default"]):
        try:
            if not Path(locate(source)).exists():
                continue  # a hub id: a plan downloads nothing
            own = read_facts(source)
            probed = Setup("lora", seq=setup.seq, rank=setup.rank)
            speed = probed_speed(
                ModelSpec(source, source), seq=setup.seq, rank=setup.rank, folder=folder
            )
        except SteelyardError:
            continue
        return speed * training_flops(own, probed)
    return None

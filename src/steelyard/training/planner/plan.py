"""The answer to "can I train this, on what, for how long and how much?".

For every kind of device: the mildest way of sharing that fits, how many are needed, the largest
batch, hours and money; and where it does not fit, what would change that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from steelyard.core import Json, Weights
from steelyard.training.planner.devices import Device, describe
from steelyard.training.planner.facts import ModelFacts
from steelyard.training.planner.fitting import (
    MOST_DEVICES,
    STAGES,
    devices_needed,
    largest_batch,
    mildest_stage,
    on_device,
    stages,
)
from steelyard.training.planner.memory import Memory, Setup, trained_parameters
from steelyard.training.planner.remedies import Remedy, remedies
from steelyard.training.planner.speed import share_of_peak, training_flops


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done: `rows`, all as long as the longest, seen `epochs` times."""

    rows: int = 1000
    epochs: int = Weights().epochs

    def tokens(self, setup: Setup) -> int:
        return self.rows * self.epochs * setup.seq


ONE_RUN = Work()


@dataclass(frozen=True, slots=True)
class Option:
    """One kind of device in some number, and what would happen there.

    `setup` is what was asked for as that device does it. `needed` is the smallest number that
    fits, None where none does; `stage` is how the model is shared (`STAGES`), and `by_stage` has
    the bytes of every way. `tokens_per_second`, `hours` and `usd` are None where it does not fit,
    nothing is trained or the speed is not known; `speed_source` says where that comes from.
    """

    device: Device
    count: int
    setup: Setup
    fits: bool
    needed: int | None
    stage: str
    memory: Memory
    by_stage: dict[str, float]
    largest_batch: int
    tokens_per_second: float | None
    speed_source: str
    hours: float | None
    usd: float | None
    remedies: tuple[Remedy, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked, and an `Option` for each kind of device.

    `sentence` answers for the first of them.
    """

    model: ModelFacts
    setup: Setup
    work: Work
    options: tuple[Option, ...]
    sentence: str

    @property
    def fits(self) -> bool:
        """Whether it fits on what was asked for first."""
        return self.options[0].fits

    def to_json(self) -> dict[str, Json]:
        """The machine-readable result; docs/plan.md describes every key."""
        model, setup = self.model, self.setup
        return {
            "sentence": self.sentence,
            "fits": self.fits,
            "model": {
                **asdict(model),
                "parameters": model.parameters,
                "kv_bytes_per_token": model.kv_bytes_per_token(),
            },
            "setup": asdict(setup),
            "work": {**asdict(self.work), "tokens": self.work.tokens(setup)},
            "trained_parameters": trained_parameters(model, setup),
            "flops_per_token": training_flops(model, setup),
            "options": [_option_json(option) for option in self.options],
        }


def _option_json(option: Option) -> dict[str, Json]:
    own = option.memory
    return {
        **asdict(option),
        "memory": {**asdict(own), "moment": own.moment, "total": own.total},
    }


def make_plan(
    facts: ModelFacts,
    setup: Setup,
    devices: Sequence[tuple[Device, int | None]],
    *,
    work: Work = ONE_RUN,
    flops_here: float | None = None,
) -> Plan:
    """Plan `setup` on each of `devices`; a number of None is as many as are needed.

    `flops_here` is what a probe has seen this machine do in a second.
    """
    options = tuple(
        _option(facts, device.adapted(setup), device, count, work=work, flops_here=flops_here)
        for device, count in devices
    )
    return Plan(facts, setup, work, options, sentence(facts, options[0]))


def _option(
    facts: ModelFacts,
    setup: Setup,
    device: Device,
    asked: int | None,
    *,
    work: Work,
    flops_here: float | None,
) -> Option:
    needed = devices_needed(facts, setup, device)
    count = asked or needed or 1
    stage = mildest_stage(facts, setup, device, count)
    every = {n: on_device(facts, setup, device, count, n) for n in stages(count)}
    shown = stages(count)[-1] if stage is None else stage
    each, speed_source = _flops(setup, device, flops_here)
    speed = None if each is None else count * each / training_flops(facts, setup)
    known = speed is not None and setup.method != "serve" and stage is not None
    hours = work.tokens(setup) / speed / 3600 if known and speed else None
    return Option(
        device=device,
        count=count,
        setup=setup,
        fits=stage is not None,
        needed=needed,
        stage=STAGES[shown],
        memory=every[shown],
        by_stage={STAGES[n]: need.total for n, need in every.items()},
        largest_batch=largest_batch(facts, setup, device, count),
        tokens_per_second=speed if known else None,
        speed_source=speed_source,
        hours=hours,
        usd=None if hours is None else hours * count * device.usd_per_hour,
        remedies=() if stage is not None else remedies(facts, setup, device, count),
    )


def _flops(setup: Setup, device: Device, flops_here: float | None) -> tuple[float | None, str]:
    """What one device does in a second while training, and how that is known."""
    if device.peak_flops is None:
        return flops_here, "no probe" if flops_here is None else "a probe of this machine"
    share = share_of_peak(setup)
    peak = f"{share:.0%} of {device.peak_flops / 1e12:,.0f} TFLOP/s"
    return share * device.peak_flops, peak


def sentence(facts: ModelFacts, option: Option) -> str:
    """The answer in words.

    fits: Llama-2-7b, qlora, on 1 × rtx3090 (26 GB): 11.2 GB of each
    does not fit: Llama-2-7b, full, needs 116.9 GB on this machine (24 GB)
    """
    device, setup = option.device, option.setup
    what = f"{facts.name} ({facts.parameters / 1e9:.3g}B), {setup.method}"
    where = describe(device) if not device.is_rented else f"{option.count} × {describe(device)}"
    need = f"{option.memory.total / 1e9:,.1f} GB"
    if option.fits:
        shared = "" if option.stage == "none" else f", shared by {option.stage}"
        alone = f"; {option.needed} would do" if option.needed != option.count else ""
        if option.needed == option.count > 1:
            alone = ", the fewest that will do"
        each = need if option.count == 1 else f"{need} on each"
        return f"fits: {what}, takes {each} of {where}{shared}{alone}"
    said = f"does not fit: {what}, needs {need} on {'each of ' * (option.count > 1)}{where}"
    if option.needed is not None:
        return f"{said}; {option.needed} of them would do"
    if device.is_rented:
        return f"{said}, and {MOST_DEVICES} of them would not do"
    return said

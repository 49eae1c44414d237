"""LoRA: a low-rank update beside every linear layer (Hu et al. 2021, arXiv:2106.09685).

    y = W x + (alpha / r) · B A x        A: [r, in]   B: [out, r]   W frozen

Two values of it. Rank-stabilised, the factor is alpha / √r, so that large ranks learn as fast as
small ones (Kalajdzievski 2023, arXiv:2312.03732). With DoRA, each row of W + B A is brought to a
length m that is learned too (Liu et al. 2024, arXiv:2402.09353):

    y = m / ‖W + s · B A‖ · (W + s · B A) x        m: [out], at first ‖W‖

A and B are kept in float32 and cast to the base's type for the product, so that small steps are
not lost to rounding while the arithmetic stays fast. One base can carry many adapters; the
`Switch` they share says which one speaks. On disk an adapter has PEFT's format, so that other
tools can load it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from steelyard.errors import StoreError

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
BASE = "steelyard_base"  # in the weights' metadata: PEFT warns of keys it does not know
PREFIX = "base_model.model."  # PEFT's name for the wrapped model


@dataclass(frozen=True, slots=True)
class Kind:
    """What an adapter is, beside its numbers."""

    rank: int
    alpha: int
    rank_stabilised: bool = False
    dora: bool = False

    @property
    def scale(self) -> float:
        """The factor of the update."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


@dataclass(slots=True)
class Switch:
    """Which adapter is active in a base, or none.

    `dropout` is the share of its input that an adapter does not see while it learns.
    """

    active: str | None = None
    dropout: float = 0.0


class LowRank(nn.Module):
    """One layer's A and B. B starts at zero, so a fresh adapter changes nothing."""

    def __init__(self, base: nn.Linear, kind: Kind, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(base.in_features)  # PEFT's kaiming_uniform(a=√5) comes to this
        a = torch.empty(kind.rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.a = nn.Parameter(a)
        self.b = nn.Parameter(torch.zeros(base.out_features, kind.rank))
        self.kind = kind
        self.scale = kind.scale
        self.magnitude: nn.Parameter | None = None
        if kind.dora:
            self.magnitude = nn.Parameter(row_lengths(base.weight, self.a, self.b).cpu())
        self.frozen = False

    def freeze(self) -> None:
        """Fix the weights for answering, so that they are prepared once and not at every token."""
        self.requires_grad_(requires_grad=False)
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a.to(x.dtype), (self.b * self.scale).to(x.dtype)
        return functional.linear(functional.linear(x, a), b)


class LoraLinear(nn.Module):
    """A frozen linear layer and the adapters that may be added to it."""

    def __init__(self, base: nn.Linear, switch: Switch) -> None:
        super().__init__()
        self.base = base
        self.switch = switch
        self.adapters = nn.ModuleDict()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        if self.switch.active is None:
            return y
        pair: Any = self.adapters[self.switch.active]
        update: Tensor = pair(x)
        if pair.magnitude is None:
            return y + update
        lengths = row_lengths(self.base.weight, pair.a, pair.b * pair.scale)
        return rescaled(y + update, pair.magnitude / lengths, self.base.bias)


def merged(layer: LoraLinear, adapter: str) -> Tensor:
    """The weights of a layer with an adapter in them, float32. Shapes: [out, in]."""
    pair: Any = layer.adapters[adapter]
    weight = layer.base.weight.detach().float()
    whole: Tensor = weight + pair.scale * (pair.b @ pair.a).detach().float()
    if pair.magnitude is not None:
        whole = whole * (pair.magnitude.detach() / torch.linalg.vector_norm(whole, dim=1))[:, None]
    return whole


def row_lengths(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """‖W + B A‖ of each row, float32, through which no gradient goes (section 4.3 of the paper).

    Shapes: [out, in], [r, in], [out, r] → [out].
    """
    with torch.no_grad():
        whole = weight.float() + (b.float() @ a.float()).to(weight.device)
        lengths: Tensor = torch.linalg.vector_norm(whole, dim=1)
        return lengths


def rescaled(y: Tensor, share: Tensor, bias: Tensor | None) -> Tensor:
    """Rows of the product brought to another length, the bias that is in `y` left as it is.

    In float32: bfloat16 has no number between 1 and 1.0078. Shapes: y [N, out], share [out].
    """
    grown = y * share
    if bias is not None:
        grown = grown + bias * (1 - share)
    return grown.to(y.dtype)


def wrap(model: nn.Module) -> Switch:
    """Put a `LoraLinear` around every linear layer but the output head, once per model."""
    switch = getattr(model, "lora_switch", None)
    if isinstance(switch, Switch):
        return switch
    switch = Switch()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and not name.endswith("lm_head"):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, LoraLinear(module, switch))
    model.requires_grad_(requires_grad=False)
    model.lora_switch = switch
    return switch


def layers(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """The wrapped layers with their names in the unwrapped model."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def add(
    model: nn.Module,
    adapter: str,
    *,
    rank: int,
    alpha: int,
    seed: int,
    rank_stabilised: bool = False,
    dora: bool = False,
) -> list[nn.Parameter]:
    """Add a fresh trainable adapter, make it the active one, and return its parameters."""
    switch = wrap(model)
    kind = Kind(rank, alpha, rank_stabilised, dora)
    generator = torch.Generator().manual_seed(seed)
    parameters: list[nn.Parameter] = []
    for _, layer in layers(model):
        pair = LowRank(layer.base, kind, generator)
        layer.adapters[adapter] = pair.to(layer.base.weight.device)
        parameters += pair.parameters()
    switch.active = adapter
    return parameters


def _parts(model: nn.Module, adapter: str) -> Iterator[tuple[str, nn.Parameter]]:
    """The adapter's parameters under PEFT's names."""
    for name, layer in layers(model):
        pair: Any = layer.adapters[adapter]
        yield f"{PREFIX}{name}.lora_A.weight", pair.a
        yield f"{PREFIX}{name}.lora_B.weight", pair.b
        if pair.magnitude is not None:
            yield f"{PREFIX}{name}.lora_magnitude_vector", pair.magnitude


def tensors(model: nn.Module, adapter: str) -> dict[str, Tensor]:
    """The adapter's tensors under PEFT's names, float32, on the CPU."""
    parts = _parts(model, adapter)
    return {name: part.detach().float().cpu().clone() for name, part in parts}


def assign(model: nn.Module, adapter: str, state: dict[str, Tensor]) -> None:
    """Copy tensors under PEFT's names into an adapter that was added before.

    Raises:
        StoreError: a layer of the model is missing from `state`, or has another shape.
    """
    for key, parameter in _parts(model, adapter):
        if key not in state or state[key].shape != parameter.shape:
            shape = tuple(state[key].shape) if key in state else "nothing"
            raise StoreError(
                f"adapter: {key} is {shape}, the base expects {tuple(parameter.shape)}; "
                "it was trained on another base model"
            )
        with torch.no_grad():
            parameter.copy_(state[key])


def save(folder: Path, model: nn.Module, adapter: str, *, base: str) -> None:
    """Write an adapter in PEFT's format. `base` is the fingerprint of the weights beneath it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(model, adapter), folder / WEIGHTS_FILE, metadata={BASE: base})
    wrapped = dict(layers(model))
    pair: Any = next(iter(wrapped.values())).adapters[adapter]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": pair.kind.rank,
        "lora_alpha": pair.kind.alpha,
        "use_rslora": pair.kind.rank_stabilised,
        "use_dora": pair.kind.dora,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in wrapped}),
        "base_model_name_or_path": None,
        "inference_mode": True,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(folder: Path, model: nn.Module, *, base: str) -> str:
    """Load an adapter beside those the model has already and return the name to switch it by.

    Raises:
        StoreError: the files are not there, or the adapter was trained on another base.
    """
    try:
        files = [(folder / name).read_bytes() for name in (CONFIG_FILE, WEIGHTS_FILE)]
        config = json.loads(files[0])
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
            trained_on = (weights.metadata() or {}).get(BASE)
            state = {key: weights.get_tensor(key) for key in weights.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise StoreError(
            f"{folder}: no adapter that can be read there ({error}); weigh the task again"
        ) from error
    if trained_on != base:
        raise StoreError(
            f"{folder}: trained on base {str(trained_on)[:12]}, "
            f"and this base is {base[:12]}; use the model it was trained on"
        )
    name = hashlib.sha256(b"".join(files)).hexdigest()
    if not any(name in layer.adapters for _, layer in layers(model)):
        add(
            model,
            name,
            rank=config["r"],
            alpha=config["lora_alpha"],
            seed=0,
            rank_stabilised=config.get("use_rslora", False),
            dora=config.get("use_dora", False),
        )
        try:
            assign(model, name, state)
        except StoreError:
            for _, layer in layers(model):
                del layer.adapters[name]
            raise
        for _, layer in layers(model):
            pair: Any = layer.adapters[name]
            pair.freeze()
    return name

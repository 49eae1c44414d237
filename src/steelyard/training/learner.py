"""What of a model learns, and how it is read, put back and saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from steelyard.core import Weights
from steelyard.models import lora, whole
from steelyard.models.decoder import Decoder
from steelyard.models.torch_backend import Loaded

ADAPTER = "in_training"


class Learner(Protocol):
    """The part of a model that an optimiser moves."""

    @property
    def decoder(self) -> Decoder: ...

    @property
    def parameters(self) -> list[nn.Parameter]: ...

    def stepped(self) -> None:
        """Called after each step of the optimiser."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Copies of what has been learned, on the CPU."""
        ...

    def assign(self, tensors: dict[str, Tensor]) -> None:
        """Put such copies back."""
        ...

    def save(self, folder: Path, loaded: Loaded) -> None:
        """Write what the backend of `loaded`, the model that was trained, can open."""
        ...


def begin(decoder: Decoder, weights: Weights, *, seed: int) -> Learner:
    """What `weights.method` trains, before its first step."""
    if weights.method == "full":
        return Whole(decoder)
    learner = Adapter(decoder, weights, seed)
    if weights.method == "qlora":
        for fused in decoder.fused():
            fused.quantise()
    return learner


class Adapter:
    """A fresh low-rank adapter under the name `ADAPTER`, the active one of its base."""

    def __init__(self, decoder: Decoder, weights: Weights, seed: int) -> None:
        self.decoder = decoder
        self.parameters = lora.add(
            decoder.model,
            ADAPTER,
            rank=weights.rank,
            alpha=weights.alpha,
            seed=seed,
            rank_stabilised=weights.rank_stabilised,
            dora=weights.dora,
        )
        decoder.switch.dropout = weights.dropout

    def stepped(self) -> None:
        pass

    def tensors(self) -> dict[str, Tensor]:
        return lora.tensors(self.decoder.model, ADAPTER)

    def assign(self, tensors: dict[str, Tensor]) -> None:
        lora.assign(self.decoder.model, ADAPTER, tensors)

    def save(self, folder: Path, loaded: Loaded) -> None:
        lora.save(folder, self.decoder.model, ADAPTER, base=loaded.fingerprint)


class Whole:
    """All weights, in float32 whatever the model calculates in: steps are smaller than what
    bfloat16 can tell apart. The model's own are rounded from these after each step.

    Units: 16 bytes a weight in float32, 18 beside bfloat16: the model's, these, their gradients
    and the optimiser's two moments.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.shown = decoder.learn()
        self.parameters = self.shown
        if decoder.dtype != torch.float32:
            self.parameters = [nn.Parameter(part.detach().float()) for part in self.shown]
            for part, exact in zip(self.shown, self.parameters, strict=True):
                part.register_post_accumulate_grad_hook(partial(_move_gradient, exact))

    def stepped(self) -> None:
        with torch.no_grad():
            for part, exact in zip(self.shown, self.parameters, strict=True):
                if part is not exact:
                    part.copy_(exact)

    def tensors(self) -> dict[str, Tensor]:
        return {f"{n}": part.detach().cpu().clone() for n, part in enumerate(self.parameters)}

    def assign(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for n, part in enumerate(self.parameters):
                part.copy_(tensors[f"{n}"])
        self.stepped()

    def save(self, folder: Path, loaded: Loaded) -> None:
        tokenizer = loaded.renderer.tokenizer
        whole.save(folder, self.decoder.model, tokenizer, base=loaded.fingerprint)


def _move_gradient(exact: nn.Parameter, part: Tensor) -> None:
    """Add up the gradients of micro-batches in float32."""
    assert part.grad is not None
    gradient, part.grad = part.grad.float(), None
    exact.grad = gradient if exact.grad is None else exact.grad.add_(gradient)

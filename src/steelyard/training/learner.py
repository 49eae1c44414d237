"""What of a model learns, and how it is read, put back and saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from steelyard.core import Weights
from steelyard.models import lora, whole
from steelyard.models.decoder import Decoder
from steelyard.models.torch_backend import Loaded
from steelyard.training import optimizers
from steelyard.training.ranks import ALONE, Ranks
from steelyard.training.sharding import gathered, shard, spread

ADAPTER = "in_training"


class Learner(Protocol):
    """The part of a model that an optimiser moves."""

    @property
    def decoder(self) -> Decoder: ...

    @property
    def parameters(self) -> list[nn.Parameter]: ...

    def optimizer(self, weights: Weights) -> Any:
        """What moves the parameters, before its first step: one of torch's, or like one."""
        ...

    def stepped(self) -> None:
        """Called after each step of the optimiser."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Copies of what has been learned, on the CPU."""
        ...

    def assign(self, tensors: dict[str, Tensor]) -> None:
        """Put such copies back."""
        ...

    def save(self, folder: Path | None, loaded: Loaded) -> None:
        """Write what the backend of `loaded`, the model that was trained, can open; with None,
        give no more than this process's part to those that write."""
        ...


def begin(decoder: Decoder, weights: Weights, *, seed: int, ranks: Ranks = ALONE) -> Learner:
    """What `weights.method` trains, before its first step."""
    if weights.method == "full":
        return Whole(decoder, ranks)
    learner = Adapter(decoder, weights, seed)
    if weights.method == "qlora":
        for fused in decoder.fused():
            fused.quantise()
    elif ranks.size > 1:
        shard(decoder)
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

    def optimizer(self, weights: Weights) -> Any:
        return optimizers.adamw(self.parameters, weights)

    def stepped(self) -> None:
        pass

    def tensors(self) -> dict[str, Tensor]:
        return lora.tensors(self.decoder.model, ADAPTER)

    def assign(self, tensors: dict[str, Tensor]) -> None:
        lora.assign(self.decoder.model, ADAPTER, tensors)

    def save(self, folder: Path | None, loaded: Loaded) -> None:
        if folder is not None:
            lora.save(folder, self.decoder.model, ADAPTER, base=loaded.fingerprint)


class Whole:
    """All weights, in float32 whatever the model calculates in: steps are smaller than what
    bfloat16 can tell apart. The model's own are rounded from these after each step.

    Units: 16 bytes a weight in float32, 18 beside bfloat16: the model's, these, their gradients
    and the optimiser's two moments.
    """

    def __init__(self, decoder: Decoder, ranks: Ranks) -> None:
        self.decoder = decoder
        decoder.learn()
        if ranks.size > 1:
            shard(decoder)
        self.shown = decoder.weights()
        self.exact = self.shown
        if decoder.dtype != torch.float32:
            self.exact = {n: nn.Parameter(p.detach().float()) for n, p in self.shown.items()}
            for names, part in self.shown.items():
                move = partial(_move_gradient, self.exact[names])
                part.register_post_accumulate_grad_hook(move)
        self.parameters = list(self.exact.values())

    def optimizer(self, weights: Weights) -> Any:
        return optimizers.adamw(self.parameters, weights)

    def stepped(self) -> None:
        with torch.no_grad():
            for names, part in self.shown.items():
                if part is not self.exact[names]:
                    part.copy_(self.exact[names])

    def tensors(self) -> dict[str, Tensor]:
        """Under the names that the model has for them."""
        found: dict[str, Tensor] = {}
        for names, part in self.exact.items():
            whole_part = gathered(part.detach()).cpu().clone()
            found |= zip(names, whole_part.split(self._rows(names, whole_part)), strict=True)
        return found

    def assign(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for names, part in self.exact.items():
                part.copy_(spread(torch.cat([tensors[name] for name in names]), part))
        self.stepped()

    def _rows(self, names: tuple[str, ...], whole_part: Tensor) -> list[int]:
        if len(names) == 1:
            return [len(whole_part)]
        layers: list[Any] = [
            self.decoder.model.get_submodule(name.rpartition(".")[0]) for name in names
        ]
        return [layer.base.out_features for layer in layers]

    def save(self, folder: Path | None, loaded: Loaded) -> None:
        state = self.tensors()
        if folder is not None:
            tokenizer, base = loaded.renderer.tokenizer, loaded.fingerprint
            whole.save(folder, state, self.decoder.model, tokenizer, base=base)


def _move_gradient(exact: nn.Parameter, part: Tensor) -> None:
    """Add up the gradients of micro-batches in float32."""
    assert part.grad is not None
    gradient, part.grad = part.grad.float(), None
    exact.grad = gradient if exact.grad is None else exact.grad.add_(gradient)

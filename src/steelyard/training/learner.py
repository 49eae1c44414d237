"""What of a model learns, and how it is read, put back and saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from steelyard.core import Weights
from steelyard.models import lora
from steelyard.models.decoder import Decoder

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

    def save(self, folder: Path, *, base: str) -> None:
        """Write what a backend can open; `base` is the fingerprint of the model beneath it."""
        ...


def begin(decoder: Decoder, weights: Weights, *, seed: int) -> Learner:
    """What `weights.method` trains, before its first step."""
    return Adapter(decoder, weights, seed)


@dataclass(init=False)
class Adapter:
    """A fresh low-rank adapter under the name `ADAPTER`, the active one of its base."""

    decoder: Decoder
    parameters: list[nn.Parameter]

    def __init__(self, decoder: Decoder, weights: Weights, seed: int) -> None:
        self.decoder = decoder
        self.weights = weights
        self.parameters = lora.add(
            decoder.model, ADAPTER, rank=weights.rank, alpha=weights.alpha, seed=seed
        )

    def stepped(self) -> None:
        pass

    def tensors(self) -> dict[str, Tensor]:
        return lora.tensors(self.decoder.model, ADAPTER)

    def assign(self, tensors: dict[str, Tensor]) -> None:
        lora.assign(self.decoder.model, ADAPTER, tensors)

    def save(self, folder: Path, *, base: str) -> None:
        rank, alpha = self.weights.rank, self.weights.alpha
        lora.save(folder, self.decoder.model, ADAPTER, rank=rank, alpha=alpha, base=base)

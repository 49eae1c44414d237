"""What is learned from rows: the seam between the loop and every objective.

    rows of a step ── micro_batches ─→ rows at once ── loss ─→ a sum over `count` things

The loop divides by the count of the whole step, so how rows are split does not change the
gradient. An objective is any value with these methods; there is nothing to inherit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from steelyard.models.attention import WholeRows, take
from steelyard.models.decoder import Decoder
from steelyard.training import batches, lanes
from steelyard.training.batches import Encoded
from steelyard.training.target_loss import target_loss

Row = TypeVar("Row", bound=Sized)  # its length is how many tokens it has


class Objective(Protocol[Row]):
    """What is wrong with what the model makes of rows."""

    def count(self, row: Row) -> int:
        """How many things of a row the loss is a mean over: target tokens, or pairs."""
        ...

    def micro_batches(self, rows: Sequence[Row], limit: int) -> Iterable[Sequence[Row]]:
        """The rows of a step in batches of about `limit` tokens at most; a row is never cut."""
        ...

    def loss(self, decoder: Decoder, rows: Sequence[Row]) -> Tensor:
        """The loss of one such batch, in nats, summed over what is counted."""
        ...

    def held_out(self, decoder: Decoder, rows: Sequence[Row]) -> dict[str, float]:
        """Figures of rows that are not trained on: `held_out_loss`, to which early stopping
        listens, and perhaps others. All of them become part of a point of the learning curve."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How many steps there are, after how many of them one looks how far it is, to which share of
    its peak the learning rate falls, and by which share a held-out loss must fall to count as
    better."""

    num_steps: int
    every: int
    floor: float
    better: float


@dataclass(frozen=True, slots=True)
class Lesson(Generic[Row]):
    """What to learn, from which rows, and by which others it is watched (perhaps none).

    Without a `pace` the number of epochs sets it. After the share `until` of all steps training
    pauses, where it next looks how far it is; it goes on from there as if it had not.
    """

    objective: Objective[Row]
    rows: Sequence[Row]
    held_out: Sequence[Row] = ()
    pace: Pace | None = None
    until: float = 1.0


def mean_loss(objective: Objective[Row], decoder: Decoder, rows: Sequence[Row]) -> float:
    """The loss per counted thing, in nats, without gradients."""

    def summed(some: Sequence[Row]) -> float:
        with torch.inference_mode():
            micros = objective.micro_batches(some, decoder.tokens_at_once)
            return sum(float(objective.loss(decoder, micro)) for micro in micros)

    return sum(lanes.run(decoder, rows, summed)) / sum(map(objective.count, rows))


class Examples:
    """Supervised fine-tuning: the cross-entropy of the targets, given their prompts."""

    def count(self, row: Encoded) -> int:
        return len(row.target)

    def micro_batches(self, rows: Sequence[Encoded], limit: int) -> Iterable[list[Encoded]]:
        return batches.micro_batches(rows, limit)

    def loss(self, decoder: Decoder, rows: Sequence[Encoded]) -> Tensor:
        """Logits are computed for target tokens alone, and what prompts share is run once."""
        batch = batches.pack(rows, decoder.device)
        attend = WholeRows(batch.shared, batch.packing, decoder.head.weight)
        states = take(decoder(batch.ids, batch.positions, attend), batch.states)
        return target_loss(states, decoder.output, batch.targets)

    def held_out(self, decoder: Decoder, rows: Sequence[Encoded]) -> dict[str, float]:
        return {"held_out_loss": mean_loss(self, decoder, rows)}

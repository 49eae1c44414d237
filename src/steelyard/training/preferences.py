"""Learning which of two answers is preferred (direct preference optimisation).

    loss = −log σ( β (r − r₀) )  −  log π(chosen | prompt) / tokens of chosen

    r = log π(chosen | prompt) − log π(rejected | prompt)

r is what the model that learns makes of a pair, and r₀ what the same model did before it began. The
second term holds the chosen answer where it is: the first is content when both become less likely.

Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7; the second term after Pang et al. 2024,
arXiv:2404.19733; that both weigh alike is ours, docs/log/2026-11-27-objectives.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from steelyard.models.attention import WholeRows, take
from steelyard.models.decoder import Decoder
from steelyard.training import batches
from steelyard.training.batches import Encoded
from steelyard.training.job import BETA
from steelyard.training.target_loss import target_loss


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt; `reference` is how much likelier, in nats, the chosen one was."""

    chosen: Encoded
    rejected: Encoded
    reference: float = 0.0

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Preferences:
    """The loss above, per pair: nats of the first term and nats a token of the second."""

    beta: float = BETA

    def count(self, _pair: Pair) -> int:
        return 1

    def micro_batches(self, rows: Sequence[Pair], limit: int) -> Iterator[list[Pair]]:
        """Pairs of near lengths; the two sides of a pair are never parted."""
        batch: list[Pair] = []
        for pair in sorted(rows, key=len):
            if batch and sum(map(len, batch)) + len(pair) > limit:
                yield batch
                batch = []
            batch.append(pair)
        if batch:
            yield batch

    def loss(self, decoder: Decoder, rows: Sequence[Pair]) -> Tensor:
        chosen, rejected = side_losses(decoder, rows)
        return self._losses(chosen, rejected, rows).sum()

    def held_out(self, decoder: Decoder, rows: Sequence[Pair]) -> dict[str, float]:
        """Beside the loss: `preference_accuracy`, the share of pairs whose chosen answer is the
        likelier one, and `reward_accuracy`, that of pairs in which it has gained more than the
        rejected one. The first can be told before training too."""
        chosen, rejected = self.sides(decoder, rows)
        now = rejected - chosen
        before = torch.tensor([pair.reference for pair in rows])
        return {
            "held_out_loss": float(self._losses(chosen, rejected, rows).mean()),
            "preference_accuracy": float((now > 0).float().mean()),
            "reward_accuracy": float((now > before).float().mean()),
        }

    def _losses(self, chosen: Tensor, rejected: Tensor, rows: Sequence[Pair]) -> Tensor:
        before = chosen.new_tensor([pair.reference for pair in rows])
        tokens = chosen.new_tensor([len(pair.chosen.target) for pair in rows])
        return pair_losses(rejected - chosen, before, self.beta) + chosen / tokens

    def sides(self, decoder: Decoder, rows: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """`side_losses` of many pairs, without gradients. Shapes: N pairs → [N] each."""
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        with torch.inference_mode():
            found = [
                torch.stack(side_losses(decoder, micro)).cpu()
                for micro in self.micro_batches(rows, decoder.tokens_at_once)
            ]
        both = torch.cat(found, dim=1)
        both = torch.empty_like(both).index_copy_(1, torch.tensor(order), both)
        return both[0], both[1]

    def referred(self, decoder: Decoder, rows: Sequence[Pair]) -> list[Pair]:
        """The pairs, with what the model as it is now makes of them as their reference."""
        if not rows:
            return []
        chosen, rejected = self.sides(decoder, rows)
        ratios = (rejected - chosen).tolist()
        return [replace(pair, reference=own) for pair, own in zip(rows, ratios, strict=True)]


def pair_losses(ratios: Tensor, reference: Tensor, beta: float = BETA) -> Tensor:
    """Equation 7, pair by pair, in nats, of what the model and its reference make of them."""
    return -functional.logsigmoid(beta * (ratios - reference))


def side_losses(decoder: Decoder, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """−log π of every chosen and of every rejected answer, in nats. Shapes: [B] each."""
    rows = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    batch = batches.pack(rows, decoder.device)
    attend = WholeRows(batch.shared, batch.packing, decoder.head.weight)
    states = take(decoder(batch.ids, batch.positions, attend), batch.states)
    sizes = [len(row.target) for row in rows]
    losses = [
        target_loss(own, decoder.output, wanted)
        for own, wanted in zip(states.split(sizes), batch.targets.split(sizes), strict=True)
    ]
    chosen, rejected = torch.stack(losses).unflatten(0, (-1, 2)).unbind(1)
    return chosen, rejected

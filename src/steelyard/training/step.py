"""The gradient of one step, however its rows are split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from steelyard.models.decoder import Decoder
from steelyard.training import lanes
from steelyard.training.objective import Objective, Row
from steelyard.training.ranks import ALONE, Ranks


def backward(
    decoder: Decoder, objective: Objective[Row], rows: Sequence[Row], ranks: Ranks = ALONE
) -> float:
    """Accumulate the gradient of the mean loss over the rows of one step, this process's share.

    Micro-batches are weighted by what is counted in them, so how the rows are split does not
    change the gradient. Returns the summed loss of the share in nats.
    """
    count = sum(map(objective.count, rows))
    if decoder.lanes > 1:  # this process trains alone
        found = lanes.run(decoder, rows, partial(_lane, decoder, objective, count))
        for _, gradient in found:
            _accumulate(decoder, gradient)
        return sum(loss for loss, _ in found)
    micros = list(objective.micro_batches(ranks.share(rows), decoder.tokens_at_once))
    blanks = ranks.most(len(micros)) - len(micros)  # all lend weights as often
    losses = []
    for micro in micros:
        loss = objective.loss(decoder, micro)
        (loss / count).backward()
        losses.append(loss.detach())
    for _ in range(blanks):
        (0 * objective.loss(decoder, rows[:1])).backward()
    return float(torch.stack(losses).sum()) if losses else 0.0  # the one wait for a GPU in a step


def halve(decoder: Decoder) -> None:
    """Hold half as much at once."""
    if decoder.lanes > 1:
        decoder.lanes = 1
    else:
        decoder.tokens_at_once = max(1, decoder.tokens_at_once // 2)


def _lane(
    decoder: Decoder, objective: Objective[Row], count: int, rows: Sequence[Row]
) -> tuple[float, list[Tensor | None]]:
    """The summed loss of some rows, and the gradient of their part of the mean."""
    parameters = _learning(decoder)
    total: list[Tensor | None] = [None] * len(parameters)
    losses = 0.0
    for micro in objective.micro_batches(rows, decoder.tokens_at_once):
        loss = objective.loss(decoder, micro)
        losses += loss.item()
        for n, own in enumerate(torch.autograd.grad(loss / count, parameters, allow_unused=True)):
            before = total[n]
            if own is not None:
                total[n] = own.contiguous() if before is None else before.add_(own)
    return losses, total


def _accumulate(decoder: Decoder, gradient: Sequence[Tensor | None]) -> None:
    for parameter, own in zip(_learning(decoder), gradient, strict=True):
        if own is not None:
            parameter.grad = own if parameter.grad is None else parameter.grad.add_(own)


def _learning(decoder: Decoder) -> list[Tensor]:
    return [p for p in decoder.model.parameters() if p.requires_grad]

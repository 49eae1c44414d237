"""Losses over the vocabulary, a piece at a time.

Logits of all targets at once would be the largest tensor of a step. Here a piece of them is
computed, its loss and its gradients are taken, and it is forgotten: of the states, and of the head
where it learns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steelyard.models.fused import Product

FEWEST_STATES = 64
LOGITS_AT_ONCE = FEWEST_STATES * 49_152  # 12 MB in float32, for SmolLM2. Source: ours

# The summed loss of a piece's float32 logits, which it may overwrite, and its gradient by them.
PieceLoss = Callable[..., tuple[Tensor, Tensor]]


def states_at_once(vocabulary: int) -> int:
    """How many states make a piece. With few tokens to tell apart it takes more of them to be worth
    a product.

    >>> states_at_once(49_152), states_at_once(4096), states_at_once(151_936)
    (64, 768, 64)
    """
    return max(FEWEST_STATES, LOGITS_AT_ONCE // vocabulary)


def target_loss(states: Tensor, head: Product, targets: Tensor) -> Tensor:
    """Summed cross-entropy in nats, float32. Shapes: states [M, width], targets [M]."""
    return piecewise(states, head, _cross_entropy, targets)


def piecewise(states: Tensor, head: Product, of_piece: PieceLoss, *wanted: Tensor) -> Tensor:
    """The sum of `of_piece(logits, *wanted)` over pieces of the states, float32.

    Shapes: states [M, width] → logits [≤ states_at_once(V), V]; each of `wanted` [M, …].
    """
    loss: Tensor = _Piecewise.apply(states, head, of_piece, head.weight, head.bias, *wanted)
    return loss


def _cross_entropy(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    norms = torch.logsumexp(logits, dim=-1, keepdim=True)
    loss = (norms - logits.gather(1, wanted[:, None])).sum()
    chances = logits.sub_(norms).exp_()
    return loss, chances.scatter_add_(1, wanted[:, None], chances.new_full((len(wanted), 1), -1.0))


class _Piecewise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        head: Product,
        of_piece: PieceLoss,
        weight: Tensor,
        bias: Tensor | None,
        *wanted: Tensor,
    ) -> Tensor:
        to_states, _, _, to_weight, to_bias, *_ = ctx.needs_input_grad
        total = torch.zeros((), device=states.device)
        gradients = []
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if to_weight else None
        of_bias = torch.zeros_like(bias, dtype=torch.float32) if to_bias else None
        at_once = states_at_once(len(weight))
        pieces = (tensor.split(at_once) for tensor in (states, *wanted))
        for part, *own in zip(*pieces, strict=True):
            loss, gradient = of_piece(head.forward(part).float(), *own)
            total += loss
            if to_states or to_weight:
                gradients.append(head.backward(gradient.to(states.dtype)))
            if of_weight is not None:
                of_weight += gradient.to(part.dtype).t() @ part
            if of_bias is not None:
                of_bias += gradient.sum(0)
        ctx.num_wanted = len(wanted)
        ctx.save_for_backward(torch.cat(gradients) if gradients else None, of_weight, of_bias)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        def by(own: Tensor | None) -> Tensor | None:
            return None if own is None else own * gradient.to(own.dtype)

        of_states, of_weight, of_bias = ctx.saved_tensors
        return by(of_states), None, None, by(of_weight), by(of_bias), *[None] * ctx.num_wanted

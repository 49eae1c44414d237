"""Cross-entropy over the vocabulary, a piece at a time.

Logits of all targets at once would be the largest tensor of a step. Here a piece of them is
computed, its loss and its gradients are taken, and it is forgotten: of the states, and of the head
where it learns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steelyard.models.fused import Product

STATES_AT_ONCE = 64  # 12 MB of float32 logits for SmolLM2


def target_loss(states: Tensor, head: Product, targets: Tensor) -> Tensor:
    """Summed loss in nats, float32. Shapes: states [M, width], targets [M]."""
    loss: Tensor = _TargetLoss.apply(states, head, targets, head.weight, head.bias)
    return loss


class _TargetLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        head: Product,
        targets: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        to_states, _, _, to_weight, to_bias = ctx.needs_input_grad
        total = torch.zeros((), device=states.device)
        gradients = []
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if to_weight else None
        of_bias = torch.zeros_like(bias, dtype=torch.float32) if to_bias else None
        for part, wanted in zip(
            states.split(STATES_AT_ONCE), targets.split(STATES_AT_ONCE), strict=True
        ):
            logits = head.forward(part).float()
            norms = torch.logsumexp(logits, dim=-1, keepdim=True)
            total += (norms - logits.gather(1, wanted[:, None])).sum()
            if to_states or to_weight:
                chances = logits.sub_(norms).exp_()
                chances.scatter_add_(1, wanted[:, None], chances.new_full((len(wanted), 1), -1.0))
                gradients.append(head.backward(chances.to(states.dtype)))
            if of_weight is not None:
                of_weight += chances.to(part.dtype).t() @ part
            if of_bias is not None:
                of_bias += chances.sum(0)
        ctx.save_for_backward(torch.cat(gradients) if gradients else None, of_weight, of_bias)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        def by(own: Tensor | None) -> Tensor | None:
            return None if own is None else own * gradient.to(own.dtype)

        of_states, of_weight, of_bias = ctx.saved_tensors
        return by(of_states), None, None, by(of_weight), by(of_bias)

"""Cross-entropy over the vocabulary, a piece at a time.

Logits of all targets at once would be the largest tensor of a step. Here a piece of them is
computed, its loss and its gradient are taken, and it is forgotten: the head is frozen, so the
gradient of the states is all there is to know.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steelyard.models.fused import Product

STATES_AT_ONCE = 64  # 12 MB of float32 logits for SmolLM2


def target_loss(states: Tensor, head: Product, targets: Tensor) -> Tensor:
    """Summed loss in nats, float32. Shapes: states [M, width], targets [M]."""
    loss: Tensor = _TargetLoss.apply(states, head, targets)
    return loss


class _TargetLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, head: Product, targets: Tensor) -> Tensor:
        learns = ctx.needs_input_grad[0]
        total = torch.zeros((), device=states.device)
        gradients = []
        for part, wanted in zip(
            states.split(STATES_AT_ONCE), targets.split(STATES_AT_ONCE), strict=True
        ):
            logits = head.forward(part).float()
            norms = torch.logsumexp(logits, dim=-1, keepdim=True)
            total += (norms - logits.gather(1, wanted[:, None])).sum()
            if learns:
                chances = logits.sub_(norms).exp_()
                chances.scatter_add_(1, wanted[:, None], chances.new_full((len(wanted), 1), -1.0))
                gradients.append(head.backward(chances.to(states.dtype)))
        if learns:
            ctx.save_for_backward(torch.cat(gradients))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (own,) = ctx.saved_tensors
        return own * gradient.to(own.dtype), None, None

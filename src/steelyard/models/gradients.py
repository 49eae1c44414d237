"""The elementwise steps of a layer, with backward passes of our own.

Autograd would keep several float32 copies of its input for a norm and three wide tensors for a
gated activation. These keep the input and little else and compute the rest again, which is also
faster: on a CPU such steps cost their memory traffic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / rms(x) · weight, in float32 inside (Zhang & Sennrich 2019).

    Shapes: [..., width].
    """
    if not learns(x):
        return functional.rms_norm(x, weight.shape, weight, epsilon)
    y: Tensor = _RmsNorm.apply(x, weight, epsilon)
    return y


def swiglu(gate_and_up: Tensor) -> Tensor:
    """silu(gate) · up (Shazeer 2020, arXiv:2002.05202). Shapes: [N, 2 · I] → [N, I]."""
    if not learns(gate_and_up):
        gate, up = gate_and_up.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)
    y: Tensor = _SwiGlu.apply(gate_and_up)
    return y


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864), in halves.

    Shapes: heads [N, H, D]; cos and sin [N, 1, D / 2].
    """
    first, second = heads.chunk(2, dim=-1)
    if learns(heads):
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    rotated = torch.empty_like(heads)
    left, right = rotated.chunk(2, dim=-1)
    torch.mul(first, cos, out=left).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=right).addcmul_(first, sin)
    return rotated


def learns(x: Tensor) -> bool:
    """Whether autograd will want a way back through what is made of it."""
    return bool(torch.is_grad_enabled() and x.requires_grad)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, scale, weight)
        return (wide.mul_(scale) if wide is not x else wide * scale).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, scale, weight = ctx.saved_tensors
        unit = x.float() * scale
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (gradient.float() * unit).flatten(0, -2).sum(0).to(weight.dtype)
        wide = gradient.float() * weight.float()
        share = (wide * unit).mean(-1, keepdim=True)
        # In place: all of these are its own.
        return wide.sub_(unit.mul_(share)).mul_(scale).to(x.dtype), to_weight, None


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_and_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_and_up)
        gate, up = gate_and_up.chunk(2, dim=-1)
        return functional.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (gate_and_up,) = ctx.saved_tensors
        gate, up = gate_and_up.chunk(2, dim=-1)
        found = torch.empty_like(gate_and_up)
        to_gate, to_up = found.chunk(2, dim=-1)
        torch.mul(functional.silu(gate), gradient, out=to_up)
        torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=to_gate)
        return found

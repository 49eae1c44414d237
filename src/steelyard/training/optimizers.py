"""What moves parameters along their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steelyard.core import Weights

MOMENTUM = 0.95
SQUARINGS = 5
# Of a polynomial that takes singular values near to 1 quickly, if not exactly.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def adamw(parameters: Sequence[nn.Parameter], weights: Weights) -> torch.optim.AdamW:
    """AdamW. Matrices decay, and what there is one of for each row or column does not."""
    kinds: dict[tuple[bool, type], list[nn.Parameter]] = {}
    for parameter in parameters:
        kinds.setdefault((parameter.ndim >= 2, type(parameter.data)), []).append(parameter)
    groups = [
        {"params": own, "weight_decay": weights.weight_decay if matrices else 0.0}
        for (matrices, _), own in kinds.items()
    ]
    return torch.optim.AdamW(groups, lr=weights.peak_learning_rate, fused=True)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal, so that every direction moves equally far.

    Each parameter is one or several matrices, one above the other; `heights` are their rows. A
    step moves a matrix by the learning rate in the root mean square of its columns.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/, constants included.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], heights: Sequence[Sequence[int]], *, lr: float
    ) -> None:
        super().__init__([{"params": list(parameters)}], {"lr": lr})
        self.heights = [list(own) for own in heights]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: None = None) -> None:
        """Move every parameter; all must have a gradient."""
        assert closure is None
        [group] = self.param_groups
        for parameter, heights in zip(group["params"], self.heights, strict=True):
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
            ahead = parameter.grad.lerp(state["momentum"], MOMENTUM)  # Nesterov's
            for part, moved in zip(parameter.split(heights), ahead.split(heights), strict=True):
                rows, columns = part.shape
                scale = max(1.0, rows / columns) ** 0.5
                part.sub_(orthogonal(moved), alpha=group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix of the same directions whose singular values are all between 0.7 and 1.2.

    Newton and Schulz's iteration, in bfloat16. Shapes: [rows, columns] → the same, float32.
    """
    first, third, fifth = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.t() if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(SQUARINGS):
        square = x @ x.t()
        x = first * x + (third * square + fifth * square @ square) @ x
    return (x.t() if tall else x).float()


class Several:
    """Optimizers of different parameters as one: the same state and groups, in one place each."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self.state: Any = parts[0].state
        for part in parts[1:]:
            part.state = self.state
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

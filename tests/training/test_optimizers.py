"""Muon: what it does to one matrix, to several in one parameter, and beside another optimizer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from steelyard.training.optimizers import COEFFICIENTS, MOMENTUM, Muon, Several, orthogonal


@given(rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 99))
def test_an_orthogonal_matrix_keeps_its_directions_and_has_singular_values_near_one(
    rows: int, columns: int, seed: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=chance))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=chance))
    few = min(rows, columns)
    values = torch.rand(few, generator=chance) * 0.9 + 0.1  # none so small that it stays so
    found = orthogonal(left[:, :few] @ torch.diag(values) @ right[:few])
    between = left[:, :few].t() @ found @ right[:few].t()
    assert ((between.diagonal() > 0.6) & (between.diagonal() < 1.3)).all()
    assert (between - torch.diag(between.diagonal())).abs().max() < 0.1


def test_orthogonal_of_one_number_is_the_polynomial_applied_five_times() -> None:
    value = 1.0
    for _ in range(5):
        a, b, c = COEFFICIENTS
        value = a * value + b * value**3 + c * value**5
    assert float(orthogonal(torch.tensor([[7.0]]))) == pytest.approx(value, rel=0.02)


def test_a_first_step_moves_a_matrix_by_its_orthogonal_gradient() -> None:
    parameter = nn.Parameter(torch.zeros(6, 3))
    parameter.grad = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    Muon([parameter], [[6]], lr=0.1).step()
    ahead = parameter.grad * ((1 - MOMENTUM) + (1 - MOMENTUM) * MOMENTUM)
    torch.testing.assert_close(parameter.detach(), -0.1 * 2**0.5 * orthogonal(ahead))


def test_matrices_that_stand_in_one_parameter_move_as_if_each_stood_alone() -> None:
    chance = torch.Generator().manual_seed(1)
    gradients = [torch.randn(4, 5, generator=chance), 100 * torch.randn(8, 5, generator=chance)]
    alone = [nn.Parameter(torch.zeros_like(one)) for one in gradients]
    for parameter, gradient in zip(alone, gradients, strict=True):
        parameter.grad = gradient
    together = nn.Parameter(torch.zeros(12, 5))
    together.grad = torch.cat(gradients)
    for optimizer in (Muon(alone, [[4], [8]], lr=0.1), Muon([together], [[4, 8]], lr=0.1)):
        optimizer.step()
        optimizer.step()
    torch.testing.assert_close(together.detach(), torch.cat([p.detach() for p in alone]))


def test_several_optimizers_have_one_state_and_each_moves_its_own() -> None:
    matrix, vector = nn.Parameter(torch.eye(3)), nn.Parameter(torch.ones(3))
    both = Several(Muon([matrix], [[3]], lr=0.1), torch.optim.AdamW([vector], lr=0.1))
    matrix.grad, vector.grad = torch.eye(3), torch.ones(3)
    both.step()
    assert set(both.state[matrix]) == {"momentum"}
    assert {"exp_avg", "exp_avg_sq"} < set(both.state[vector])
    assert [len(group["params"]) for group in both.param_groups] == [1, 1]
    assert not torch.equal(matrix.detach(), torch.eye(3))
    assert not torch.equal(vector.detach(), torch.ones(3))
    both.param_groups[0]["lr"] = both.param_groups[1]["lr"] = 0.0
    before = matrix.detach().clone(), vector.detach().clone()
    both.step()
    assert torch.equal(matrix.detach(), before[0])
    assert torch.equal(vector.detach(), before[1])
    both.zero_grad()
    assert matrix.grad is None
    assert vector.grad is None

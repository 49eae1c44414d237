"""The loss taken a piece at a time, against PyTorch's own over all logits at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from steelyard.models.fused import Product
from steelyard.training import target_loss as module
from steelyard.training.target_loss import target_loss


def some(
    count: int, *, width: int, vocabulary: int, bias: bool, seed: int = 0
) -> tuple[Tensor, nn.Linear, Tensor]:
    """States that learn, a frozen head and targets."""
    chance = torch.Generator().manual_seed(seed)
    head = nn.Linear(width, vocabulary, bias=bias).requires_grad_(requires_grad=False)
    for parameter in head.parameters():
        parameter.normal_(generator=chance)
    states = torch.randn(count, width, generator=chance, requires_grad=True)
    return states, head, torch.randint(vocabulary, (count,), generator=chance)


def product(head: nn.Linear) -> Product:
    return Product(head.weight, head.bias, lay_out=False)


def whole(states: Tensor, head: nn.Module, targets: Tensor) -> Tensor:
    return functional.cross_entropy(head(states).float(), targets, reduction="sum")


@given(
    count=st.integers(1, 30),
    at_once=st.integers(1, 31),
    width=st.integers(1, 8),
    vocabulary=st.integers(1, 40),
    bias=st.booleans(),
    share=st.floats(0.01, 2),
)
def test_value_and_gradient_are_those_of_cross_entropy(
    count: int, at_once: int, width: int, vocabulary: int, *, bias: bool, share: float
) -> None:
    states, head, targets = some(count, width=width, vocabulary=vocabulary, bias=bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "states_at_once", lambda _: at_once)
        ours = target_loss(states, product(head), targets)
    theirs = whole(states, head, targets)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5, abs=1e-4)
    [mine] = torch.autograd.grad(ours * share, states)
    [other] = torch.autograd.grad(theirs * share, states)
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@given(
    count=st.integers(1, 30),
    at_once=st.integers(1, 31),
    bias=st.booleans(),
    share=st.floats(0.01, 2),
)
def test_a_head_that_learns_has_the_gradient_of_cross_entropy(
    count: int, at_once: int, *, bias: bool, share: float
) -> None:
    states, head, targets = some(count, width=5, vocabulary=17, bias=bias)
    asked = [states, *head.requires_grad_().parameters()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "states_at_once", lambda _: at_once)
        ours = torch.autograd.grad(target_loss(states, product(head), targets) * share, asked)
    theirs = torch.autograd.grad(whole(states, head, targets) * share, asked)
    assert len(ours) == 2 + bias
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_a_loss_and_a_gradient_worked_by_hand() -> None:
    # Logits 0 0: each 1/2, log 2. The gradient is (1/2 − 1, 1/2) through the rows of the head.
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    states = torch.zeros(1, 2, requires_grad=True)
    loss = target_loss(states, product(head), torch.tensor([0]))
    assert loss.item() == pytest.approx(0.6931472)
    loss.backward()
    assert states.grad is not None
    assert states.grad.tolist() == [[1.0, 2.0]]


def test_the_size_of_the_pieces_leaves_logits_far_below_those_of_all_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states, head, targets = some(25, width=4, vocabulary=9, bias=True)
    seen: list[tuple[int, ...]] = []
    linear = functional.linear

    def watched(*given: Any) -> Tensor:
        logits: Tensor = linear(*given)
        seen.append(tuple(logits.shape))
        return logits

    monkeypatch.setattr(module, "states_at_once", lambda _: 10)
    monkeypatch.setattr(functional, "linear", watched)
    target_loss(states, product(head), targets).backward()
    assert seen == [(10, 9), (10, 9), (5, 9)]


def test_nothing_is_kept_for_a_gradient_that_nobody_asks_for() -> None:
    states, head, targets = some(5, width=4, vocabulary=9, bias=False)
    expected = target_loss(states, product(head), targets)
    with torch.inference_mode():
        assert target_loss(states, product(head), targets) == expected
    plain = target_loss(states.detach(), product(head), targets)
    assert plain == expected
    assert not plain.requires_grad


def test_large_logits_overflow_nothing() -> None:
    head = nn.Linear(1, 3, bias=False).requires_grad_(requires_grad=False)
    head.weight.copy_(torch.tensor([[1e4], [-1e4], [0.0]]))
    states = torch.ones(2, 1, requires_grad=True)
    loss = target_loss(states, product(head), torch.tensor([0, 1]))
    assert loss.item() == 2e4
    loss.backward()
    assert states.grad is not None
    assert states.grad.tolist() == [[0.0], [2e4]]


def test_a_state_that_is_no_number_gives_a_loss_that_is_none() -> None:
    states, head, targets = some(3, width=4, vocabulary=9, bias=False)
    with torch.no_grad():
        states[1] = float("nan")
    assert target_loss(states, product(head), targets).isnan()


def test_in_bfloat16_the_sum_is_kept_in_float32_and_the_gradient_in_bfloat16() -> None:
    states, head, targets = some(400, width=8, vocabulary=50, bias=True)
    low = states.detach().bfloat16().requires_grad_()
    head = head.bfloat16()
    ours, theirs = target_loss(low, product(head), targets), whole(low, head, targets)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    [mine] = torch.autograd.grad(ours, low)
    [other] = torch.autograd.grad(theirs, low)
    assert mine.dtype == torch.bfloat16
    assert (mine - other).norm() / other.norm() < 2e-2

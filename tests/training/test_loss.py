from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.core import Weights
from steelyard.models import lora
from steelyard.training import batches, loop
from steelyard.training.batches import IGNORED, Encoded
from tiny import open_in_float32


class Table:
    """A model whose logits after a token are that token's row of a table, whatever came before."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.config = SimpleNamespace(pad_token_id=0)
        self.device = torch.device("cpu")
        self.table = torch.tensor(rows)

    def model(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(last_hidden_state=self.table[input_ids])

    def lm_head(self, states: torch.Tensor) -> torch.Tensor:
        return states


LOG_2, LOG_3 = math.log(2), math.log(3)
HAND = Table([[0.0, 0.0, 0.0], [0.0, LOG_2, 0.0], [0.0, LOG_3, 0.0]])
# After token 0: 1/3 each. After 1: 1/4, 2/4, 1/4. After 2: 1/5, 3/5, 1/5.


def test_the_loss_of_a_row_worked_by_hand() -> None:
    # prompt 0 1, target 2 1:  −log P(2 | 1) − log P(1 | 2) = −log 1/4 − log 3/5
    row = Encoded([0, 1], [2, 1])
    expected = math.log(4) + math.log(5 / 3)
    assert float(loop.summed_loss(HAND, [row])) == pytest.approx(expected, abs=1e-6)
    assert loop.mean_loss(HAND, [row]) == pytest.approx(expected / 2, abs=1e-6)


def test_only_the_last_token_of_a_prompt_is_in_the_loss_and_as_what_comes_before() -> None:
    losses = [
        float(loop.summed_loss(HAND, [Encoded([*before, 1], [2])]))
        for before in ([], [0], [2, 2], [1, 0, 2])
    ]
    assert losses == pytest.approx([math.log(4)] * 4, abs=1e-6)
    after_another = float(loop.summed_loss(HAND, [Encoded([0, 2], [2])]))
    assert after_another == pytest.approx(math.log(5), abs=1e-6)


def test_the_mean_is_over_tokens_and_not_over_rows() -> None:
    rows = [Encoded([1], [2]), Encoded([0], [0, 0, 0])]  # log 4 once, log 3 three times
    expected = (math.log(4) + 3 * math.log(3)) / 4
    assert loop.mean_loss(HAND, rows) == pytest.approx(expected, abs=1e-6)


tokens = st.integers(3, 200)
rows_of_any_shape = st.lists(
    st.builds(
        Encoded,
        prompt=st.lists(tokens, min_size=1, max_size=12),
        target=st.lists(tokens, min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def learning(tiny_folder: Path) -> tuple[Any, list[Any]]:
    """A model with an adapter that has learned something, and its parameters."""
    model = open_in_float32(tiny_folder).loaded.model
    parameters = lora.add(model, "x", rank=4, alpha=8, seed=0)
    chance = torch.Generator().manual_seed(1)
    state = lora.tensors(model, "x")
    lora.assign(model, "x", {k: v.normal_(0, 0.1, generator=chance) for k, v in state.items()})
    return model, parameters


def gradient(parameters: list[Any]) -> torch.Tensor:
    whole = torch.cat([parameter.grad.flatten() for parameter in parameters])
    for parameter in parameters:
        parameter.grad = None
    return whole


@settings(max_examples=15)
@given(rows=rows_of_any_shape, limit=st.integers(1, 60))
def test_micro_batches_add_up_to_the_gradient_of_one_padded_batch(
    learning: Any, rows: list[Encoded], limit: int
) -> None:
    model, parameters = learning
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MICRO_BATCH_TOKENS", limit)
        total, num_tokens = loop.backward(model, rows)
    found = gradient(parameters)

    ids, mask, labels = batches.collate(rows, pad_id=0)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )
    loss.backward()
    expected = gradient(parameters)
    assert total / num_tokens == pytest.approx(loss.item(), rel=1e-5)
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_the_loss_is_that_of_each_row_alone(learning: Any) -> None:
    model, _ = learning
    rows = [Encoded([5, 6, 7], [8, 9, 2]), Encoded([50], [2]), Encoded([9, 9], [100, 2])]
    alone = 0.0
    with torch.inference_mode():
        for row in rows:
            ids = row.prompt + row.target
            log_probs = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
            for i, token in enumerate(row.target):
                alone -= float(log_probs[len(row.prompt) - 1 + i, token])
        assert float(loop.summed_loss(model, rows)) == pytest.approx(alone, rel=1e-5)


def rate(step: int, num_steps: int, **how: Any) -> float:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}, {"lr": 0.0}])
    weights = Weights(method="lora", learning_rate=1.0, **how)
    loop.set_learning_rate(optimizer, weights, step=step, num_steps=num_steps)
    first, second = optimizer.param_groups
    assert first == second
    return first["lr"]


def test_the_learning_rate_at_steps_worked_by_hand() -> None:
    # 10 steps, 2 of warm-up: 1/2, 1, then 0.1 + 0.9 · (1 + cos(π · k/8)) / 2 for k = 0 … 7
    found = [rate(step, 10, warmup_share=0.2) for step in range(10)]
    half = 0.1 + 0.9 * 0.5
    quarter = 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2
    assert found[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert found[4] == pytest.approx(quarter)
    assert found[6] == pytest.approx(half)
    assert found[8] == pytest.approx(1.1 - quarter)
    assert found == sorted(found[:1]) + sorted(found[1:], reverse=True)


def test_the_shortest_runs_have_a_learning_rate() -> None:
    assert rate(0, 1) == 1.0  # one step, and it is the warm-up
    assert [rate(step, 2) for step in range(2)] == [1.0, 1.0]
    assert rate(99, 100) == pytest.approx(0.1, abs=1e-3)

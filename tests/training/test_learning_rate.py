"""The learning rate over the steps of a run."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from steelyard.core import Weights
from steelyard.training import loop
from steelyard.training.objective import Pace


def rate(step: int, num_steps: int, **how: Any) -> float:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}, {"lr": 0.0}])
    weights = Weights(method="lora", learning_rate=1.0, **how)
    pace = Pace(num_steps, 1, loop.FLOOR, 0.0)
    loop.set_learning_rate(optimizer, weights, pace, step=step)
    first, second = (float(group["lr"]) for group in optimizer.param_groups)
    assert first == second
    return first


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

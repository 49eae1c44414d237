"""Operations of a token: T-Few's Table 1, and what training adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from steelyard.training.planner.facts import KNOWN, ModelFacts
from steelyard.training.planner.memory import Setup
from steelyard.training.planner.speed import forward_flops, training_flops


class Sized:
    """A model of which only the number of parameters is known."""

    def __init__(self, parameters: float, cross_layers: int = 0) -> None:
        self.parameters, self.cross_layers = parameters, cross_layers


SHOTS = 41 * 98 + 103  # tokens: 41 shots of 98 and the input. Source: T-Few, section 4.2


@pytest.mark.parametrize(
    ("billions", "encoder_decoder", "tokens", "published"),
    [
        (11, True, 103, 1.1e12),
        (11, True, SHOTS, 4.5e13),
        (6.7, False, SHOTS, 5.4e13),
        (13, False, SHOTS, 1.0e14),
        (175, False, SHOTS, 1.4e15),
    ],
)
def test_forward_operations_are_those_of_t_few_within_its_rounding(
    billions, encoder_decoder, tokens, published
):
    model: Any = Sized(billions * 1e9, 24 if encoder_decoder else 0)
    assert published == pytest.approx(tokens * forward_flops(model), rel=0.07)


def test_training_operations_are_those_of_t_few():
    # 1000 steps of 8 rows of 103 tokens through the 11B encoder-decoder. Source: the same table.
    model: Any = Sized(11e9, 24)
    flops = 1000 * 8 * 103 * training_flops(model, Setup("full", 103))
    assert pytest.approx(flops, rel=0.07) == 2.7e16


def test_training_takes_six_or_four_operations_a_parameter_and_two_more_for_recomputation():
    facts = KNOWN["llama-2-7b"]
    n, adapters = facts.parameters, facts.adapter_parameters(16)
    lora, full = Setup("lora", 512), Setup("full", 512)
    assert training_flops(facts, full) == 6 * n
    assert training_flops(facts, replace(full, checkpointing=True)) == 8 * n
    assert training_flops(facts, lora) == 4 * n + 6 * adapters
    assert training_flops(facts, Setup("head", 512)) == 2 * n


def test_a_token_of_an_encoder_decoder_meets_half_of_it():
    facts: ModelFacts = KNOWN["mt0-xxl"]
    assert forward_flops(facts) == facts.parameters
    assert training_flops(facts, Setup("full", 1)) == 3 * facts.parameters

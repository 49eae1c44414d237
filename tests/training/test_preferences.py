"""Which of two answers is preferred: the published loss, its reference, its held-out figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from steelyard.core import Weights
from steelyard.training import learner, loop, step
from steelyard.training.batches import Encoded
from steelyard.training.objective import Lesson
from steelyard.training.preferences import BETA, Pair, Preferences, pair_losses, side_losses
from tiny import WORDS, ask, open_in_float32, some_texts


def pairs_of(backend: Any, count: int = 8, seed: int = 0) -> list[Pair]:
    shown = backend.renderer
    texts = some_texts(count, seed=seed)
    return [
        Pair(
            Encoded(shown.prompt_ids(ask(text)), shown.target_ids(WORDS[i % 5])),
            Encoded(shown.prompt_ids(ask(text)), shown.target_ids(f"{WORDS[i % 5]} {text}")),
        )
        for i, text in enumerate(texts)
    ]


def log_probability(model: Any, row: Encoded) -> torch.Tensor:
    """An independent one: the model's own logits, row by row."""
    ids = torch.tensor([row.prompt + row.target])
    log_probs = torch.log_softmax(model(ids).logits.float(), dim=-1)[0]
    first = len(row.prompt)
    places = range(first - 1, first + len(row.target) - 1)
    return torch.stack([log_probs[p, t] for p, t in zip(places, row.target, strict=True)]).sum()


# ---------------------------------------------------------------- the loss


def test_the_loss_is_that_of_a_table_worked_by_hand() -> None:
    # β (r − r₀) = 0.1 · (3 − 1), 0.1 · (−10 − 10), 0: −log σ of 0.2, −2 and 0.
    losses = pair_losses(torch.tensor([3.0, -10.0, 5.0]), torch.tensor([1.0, 10.0, 5.0]))
    assert losses.tolist() == pytest.approx([0.5981389, 2.1269280, math.log(2)])


def test_the_loss_is_the_sigmoid_loss_that_trl_takes() -> None:
    """TRL: −logsigmoid(β ((π_c − π_r) − (ref_c − ref_r))), its four terms apart."""
    policy = torch.tensor([[-12.0, -9.0], [-4.0, -30.0]])
    reference = torch.tensor([[-11.0, -9.5], [-6.0, -20.0]])
    theirs = -functional.logsigmoid(
        BETA * ((policy[:, 0] - policy[:, 1]) - (reference[:, 0] - reference[:, 1]))
    )
    ours = pair_losses(policy[:, 0] - policy[:, 1], reference[:, 0] - reference[:, 1])
    assert ours.tolist() == pytest.approx(theirs.tolist())


def test_packed_ratios_and_gradients_are_those_of_plain_rows(tiny_folder: Path) -> None:
    backend = open_in_float32(tiny_folder)
    decoder, objective = backend.loaded.decoder, Preferences()
    learning = learner.begin(decoder, Weights("lora", rank=2, alpha=4), seed=0)
    chance = torch.Generator().manual_seed(1)
    state = {k: torch.randn(v.shape, generator=chance) / 5 for k, v in learning.tensors().items()}
    learning.assign(state)
    pairs = [replace(p, reference=float(n - 3)) for n, p in enumerate(pairs_of(backend))]

    plain = torch.stack(
        [
            torch.stack([log_probability(decoder.model, side) for side in (p.chosen, p.rejected)])
            for p in pairs
        ],
        dim=1,
    )
    with torch.inference_mode():
        found = torch.stack(side_losses(decoder, pairs))
    torch.testing.assert_close(found, -plain.detach(), rtol=0, atol=1e-3)
    reference = torch.tensor([pair.reference for pair in pairs])
    chosen, rejected = plain
    held = chosen / torch.tensor([len(pair.chosen.target) for pair in pairs])
    (pair_losses(chosen - rejected, reference) - held).mean().backward()
    expected = [parameter.grad.clone() for parameter in learning.parameters]
    for limit, decoder.lanes in ((10, 1), (60, 1), (60, 2), (10_000, 1)):  # one pair a batch … all
        for parameter in learning.parameters:
            parameter.grad = None
        decoder.tokens_at_once = limit
        step.backward(decoder, objective, pairs)
        for parameter, other in zip(learning.parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, other, rtol=1e-3, atol=1e-5)


def test_the_sides_of_a_pair_are_never_parted(tiny: Any) -> None:
    pairs = pairs_of(tiny)
    parted = list(Preferences().micro_batches(pairs, 40))
    assert len(parted) > 1
    assert sorted(map(id, (pair for micro in parted for pair in micro))) == sorted(map(id, pairs))
    assert all(len(micro) == 1 or sum(map(len, micro)) <= 40 for micro in parted)


# ---------------------------------------------------------------- reference and figures


def test_the_reference_is_what_the_model_makes_of_each_pair_in_its_own_place(tiny: Any) -> None:
    pairs = pairs_of(tiny)
    referred = Preferences().referred(tiny.loaded.decoder, pairs)
    assert [(p.chosen, p.rejected) for p in referred] == [(p.chosen, p.rejected) for p in pairs]
    for pair in referred:
        with torch.inference_mode():
            chosen, rejected = side_losses(tiny.loaded.decoder, [pair])
        assert pair.reference == pytest.approx(float(rejected - chosen), abs=1e-4)
    assert Preferences().referred(tiny.loaded.decoder, []) == []


def test_before_training_the_loss_is_log_two_and_the_chosen_answers_own(tiny: Any) -> None:
    decoder, objective = tiny.loaded.decoder, Preferences()
    referred = objective.referred(decoder, pairs_of(tiny))
    found = objective.held_out(decoder, referred)
    with torch.inference_mode():
        own = [float(side_losses(decoder, [p])[0]) / len(p.chosen.target) for p in referred]
    expected = math.log(2) + sum(own) / len(own)
    assert found["held_out_loss"] == pytest.approx(expected, abs=1e-3)
    ahead = sum(pair.reference > 0 for pair in referred) / len(referred)
    assert found["preference_accuracy"] == ahead


def test_learning_makes_the_chosen_answers_the_likelier_ones(
    tiny_folder: Path, tmp_path: Path
) -> None:
    backend = open_in_float32(tiny_folder)
    decoder, objective = backend.loaded.decoder, Preferences()
    # The long answer is chosen: sums of log-probabilities are against it at first.
    shown = backend.renderer
    turned = [
        Pair(
            *(Encoded(shown.prompt_ids(ask(text)), shown.target_ids(t)) for t in ("fee fee", "fee"))
        )
        for text in some_texts(24, seed=3)
    ]
    weights = Weights("lora", rank=4, alpha=8, epochs=12, batch_size=8, learning_rate=2e-2)
    learning = learner.begin(decoder, weights, seed=0)
    rows, held_out = (objective.referred(decoder, own) for own in (turned[:16], turned[16:]))
    before = objective.held_out(decoder, held_out)
    lesson = Lesson(objective, rows, held_out)
    loop.train(learning, lesson, weights=weights, seed=0, folder=tmp_path, log=lambda _: None)
    after = objective.held_out(decoder, held_out)
    assert before["preference_accuracy"] < 0.3
    assert after["preference_accuracy"] > 0.7
    assert after["reward_accuracy"] == 1.0
    assert after["held_out_loss"] < before["held_out_loss"] / 2

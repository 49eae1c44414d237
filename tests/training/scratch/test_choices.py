"""The numbers of a model from nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steelyard.training.scratch import choices
from steelyard.training.scratch.choices import Course, Shape, course_of
from steelyard.training.scratch.making import fresh_model


def course(**changes: float) -> Course:
    given = {"seconds": 300.0, "tokens_per_second": 4000.0} | changes
    return course_of(Shape(4, 4096), given=False, corpus_tokens=1_000_000, num_blocks=2000, **given)


@pytest.mark.parametrize(("layers", "vocabulary"), [(1, 300), (3, 1000)])
def test_the_weights_of_a_shape_are_those_of_the_model_made_from_it(
    layers: int, vocabulary: int
) -> None:
    model = fresh_model(Shape(layers, vocabulary), end=0, seed=0, dtype=torch.float32)
    assert Shape(layers, vocabulary).weights == model.num_parameters()


def test_a_fresh_model_is_the_same_for_the_same_seed_and_expects_nothing_of_its_layers() -> None:
    one, same, other = (
        fresh_model(Shape(1, 300), end=0, seed=seed, dtype=torch.float32).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])
    assert not one["model.layers.0.mlp.down_proj.weight"].any()


def test_minutes_and_speed_make_the_steps_worked_by_hand() -> None:
    # 300 s · 0.95 · 4,000/s = 1.14 M tokens = 1.14 epochs; 1.5 √1.14 M = 1,602 ≈ 4 blocks of 512.
    found = course()
    assert (found.batch_rows, found.num_steps, found.every) == (4, 570, 57)
    assert found.epochs == 1.14


def test_a_small_corpus_is_not_read_for_ever() -> None:
    found = course(seconds=3e5)
    assert found.epochs == choices.MOST_EPOCHS
    [steps] = [choice for choice in found.choices if choice.name == "steps"]
    assert "by heart" in steps.source


def test_time_that_is_over_pays_for_no_step() -> None:
    assert course(seconds=-5.0).num_steps == 0


def test_a_course_of_hours_is_looked_at_every_ten_minutes() -> None:
    found = course(seconds=7200.0, tokens_per_second=1000.0)
    assert math.ceil(found.num_steps / found.every) == 12


def test_every_number_says_where_it_comes_from() -> None:
    for named in (True, False):
        plain = course().to_json() | {"given": named}
        for choice in Course.from_json(plain).choices:
            assert choice.name
            assert choice.value
            assert len(choice.source) > 5


def test_a_course_comes_back_from_json() -> None:
    assert Course.from_json(course().to_json()) == course()


@given(st.integers(1, 10**13))
def test_a_vocabulary_is_a_power_of_two_within_its_bounds(num_bytes: int) -> None:
    size = choices.vocabulary_of(num_bytes)
    assert size & (size - 1) == 0
    assert choices.SMALLEST_VOCABULARY <= size <= choices.LARGEST_VOCABULARY

"""The rows of the training benchmark, and the arithmetic they are said to need."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_scripts import load_script

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
rows = load_script("rows")


@settings(max_examples=30)
@given(
    shared=st.integers(0, 5),
    own=st.tuples(st.integers(1, 4), st.integers(4, 9)),
    target=st.tuples(st.integers(1, 3), st.integers(3, 5)),
    count=st.integers(1, 20),
    seed=st.integers(0, 9),
)
def test_rows_share_their_beginning_and_have_the_lengths_asked_for(
    shared: int, own: tuple[int, int], target: tuple[int, int], count: int, seed: int
) -> None:
    lengths = rows.Lengths(own, target, shared)
    made = rows.random_rows(lengths, count, vocabulary=10_000, seed=seed)
    assert made == rows.random_rows(lengths, count, vocabulary=10_000, seed=seed)
    assert len(made) == count
    assert len({tuple(row.prompt[:shared]) for row in made}) == 1
    for row in made:
        assert own[0] <= len(row.prompt) - shared <= own[1]
        assert target[0] <= len(row.target) <= target[1]
        assert all(rows.FIRST_ID <= token < 10_000 for token in row.prompt + row.target)


def test_nothing_is_shared_where_nothing_should_be() -> None:
    made = rows.random_rows(rows.LENGTHS["short"], 64, vocabulary=49_152)
    assert len({row.prompt[0] for row in made}) > 60


def test_lengths_are_spread_evenly() -> None:
    assert rows.spread((3, 5), 6) == [3, 3, 4, 4, 5, 5]
    assert rows.spread((0, 99), 4) == [12, 37, 62, 87]
    assert rows.spread((4, 4), 2) == [4, 4]
    assert rows.spread((1, 2), 0) == []


@pytest.mark.parametrize(
    ("name", "least", "mean", "most"),
    [("short", 30, 41, 52), ("shared", 352, 360, 368), ("long", 256, 384, 512)],
)
def test_the_works_are_of_the_lengths_they_say(
    name: str, least: int, mean: float, most: int
) -> None:
    lengths = rows.LENGTHS[name]
    found = [len(row) for row in rows.random_rows(lengths, 200, vocabulary=1000)]
    assert least <= min(found) <= max(found) <= most
    assert lengths.mean == mean
    assert sum(found) / 200 == pytest.approx(mean, rel=0.02)


def test_ten_times_the_rows_are_of_the_same_lengths() -> None:
    lengths = rows.LENGTHS["growth"]
    few, many = (rows.random_rows(lengths, n, vocabulary=1000) for n in (128, 1280))
    assert max(map(len, few)) <= max(map(len, many)) <= lengths.own[1] + lengths.target[1]
    assert sum(map(len, many)) == pytest.approx(10 * sum(map(len, few)), rel=0.01)


def test_weights_are_those_of_the_linear_layers(tiny_folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder)
    counted = sum(
        layer.weight.numel()
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and name != "lm_head"
    )
    assert rows.linear_weights(model.config) == counted


def test_the_arithmetic_of_a_row_by_hand() -> None:
    config = SimpleNamespace(
        vocab_size=100,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    # a layer: q and o 8 × 8, k and v 8 × 4, three of 8 × 16
    weights = 2 * (2 * 64 + 2 * 32 + 3 * 128)
    assert rows.linear_weights(config) == weights
    lengths = rows.Lengths(own=(6, 6), target=(2, 4), shared=10)  # 19 tokens, 18 of them fed
    assert rows.flop_per_row(config, lengths) == 4 * weights * 18 + 4 * 8 * 100 * 3

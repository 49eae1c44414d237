from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig
from transformers.cache_utils import DynamicLayer

from steelyard.errors import ModelError
from steelyard.models import kv_cache
from steelyard.models.kv_cache import BufferedLayer

HEADS, WIDTH, CAPACITY = 2, 3, 12


@st.composite
def steps(draw: Any) -> tuple[int, list[int | list[int]]]:
    """A batch size and what happens to the cache: new columns (a number) or rows kept (a list)."""
    batch = draw(st.integers(1, 4))
    rows, room, done = batch, CAPACITY, []
    for _ in range(draw(st.integers(1, 6))):
        if done and draw(st.booleans()):
            kept = draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=rows))
            rows = len(kept)
            done.append(kept)
        elif room:
            new = draw(st.integers(1, room))
            room -= new
            done.append(new)
    return batch, done


@settings(max_examples=50)
@given(steps())
def test_a_buffered_layer_holds_what_a_dynamic_one_does(steps: Any) -> None:
    rows, done = steps
    ours, theirs = BufferedLayer(CAPACITY), DynamicLayer()
    chance = torch.Generator().manual_seed(0)
    for step in done:
        if isinstance(step, list):
            ours.batch_select_indices(torch.tensor(step))
            theirs.batch_select_indices(torch.tensor(step))
            rows = len(step)
        else:
            new = torch.randn(2, rows, HEADS, step, WIDTH, generator=chance)
            returned = ours.update(new[0], new[1])
            theirs.update(new[0], new[1])
            assert all(map(torch.equal, returned, (theirs.keys, theirs.values)))
        assert torch.equal(ours.keys, theirs.keys)
        assert torch.equal(ours.values, theirs.values)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(1) == theirs.get_mask_sizes(1)


def test_a_prefix_is_spread_over_every_row_and_stays_as_it_is() -> None:
    prefix = kv_cache.empty(2, 4)
    chance = torch.Generator().manual_seed(0)
    new = torch.randn(2, 1, HEADS, 4, WIDTH, generator=chance)
    for layer in prefix.layers:
        layer.update(new[0], new[1])
    cache = kv_cache.spread(prefix, 3, CAPACITY)
    assert len(cache.layers) == 2
    cache.layers[0].update(torch.ones(3, HEADS, 1, WIDTH), torch.ones(3, HEADS, 1, WIDTH))
    assert cache.layers[0].get_seq_length() == 5
    assert all(torch.equal(cache.layers[0].keys[row, :, :4], new[0, 0]) for row in range(3))
    assert torch.equal(cache.layers[1].values, new[1].expand(3, -1, -1, -1))
    assert torch.equal(prefix.layers[0].keys, new[0])


def test_an_empty_cache_has_seen_nothing() -> None:
    assert kv_cache.empty(2, 4).get_seq_length() == 0


@pytest.mark.parametrize(
    ("family", "window", "expected"),
    [("llama", None, 256), ("mistral", 64, 64), ("mistral", None, 256), ("gemma3_text", 64, 64)],
)
def test_the_context_ends_where_a_layer_stops_seeing_all_of_it(
    family: str, window: int | None, expected: int
) -> None:
    config = AutoConfig.for_model(family, max_position_embeddings=256)
    if window is not None or family == "mistral":
        config.sliding_window = window
    assert kv_cache.context_tokens(config) == expected


def test_a_model_that_keeps_more_than_keys_and_values_is_refused() -> None:
    config = AutoConfig.for_model("falcon_h1", max_position_embeddings=256)
    with pytest.raises(ModelError, match="LinearAttentionAndFullAttentionLayer, which cannot be"):
        kv_cache.context_tokens(config)

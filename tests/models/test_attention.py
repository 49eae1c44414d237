from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from steelyard.models.attention import NAME, grouped_attention, use_grouped_attention
from tiny import open_in_float32, some_texts


@settings(max_examples=40)
@given(
    batch=st.integers(1, 3),
    key_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    length=st.integers(1, 5),
    before=st.integers(0, 5),
    boolean=st.booleans(),
)
def test_it_is_the_attention_of_pytorch(
    batch: int, key_heads: int, group: int, length: int, before: int, boolean: bool
) -> None:
    chance = torch.Generator().manual_seed(length)
    seen, width = before + length, 8
    query = torch.randn(batch, key_heads * group, length, width, generator=chance)
    key, value = torch.randn(2, batch, key_heads, seen, width, generator=chance)
    allowed = torch.rand(batch, 1, length, seen, generator=chance) < 0.7
    allowed |= torch.eye(seen, dtype=torch.bool)[before:]  # every token sees itself
    mask = allowed if boolean else torch.where(allowed, 0.0, torch.finfo(torch.float32).min)
    found, _ = grouped_attention(None, query, key, value, mask, scaling=0.3)
    repeated = (x.repeat_interleave(group, dim=1) for x in (key, value))
    expected = scaled_dot_product_attention(query, *repeated, attn_mask=mask, scale=0.3)
    assert torch.allclose(found, expected.transpose(1, 2), atol=1e-5)


def test_without_a_mask_a_token_sees_all_and_the_scale_is_that_of_its_width() -> None:
    chance = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, n, 4, generator=chance) for n in (1, 5, 5))
    found, _ = grouped_attention(None, query, key, value, None)
    expected = scaled_dot_product_attention(query, key, value)
    assert torch.allclose(found, expected.transpose(1, 2), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_that_sees_nothing_comes_out_as_numbers(dtype: torch.dtype) -> None:
    query, key, value = torch.ones(3, 1, 1, 2, 4, dtype=dtype)
    mask = torch.tensor([[[[False, False], [True, True]]]])
    found, _ = grouped_attention(None, query, key, value, mask)
    assert found.dtype == dtype
    assert torch.isfinite(found).all()


def test_a_padded_batch_has_the_librarys_states(tiny_folder: Path, library: Any) -> None:
    backend = open_in_float32(tiny_folder)
    assert backend.loaded.model.config._attn_implementation == "sdpa"
    use_grouped_attention(backend.loaded.model)
    assert backend.loaded.model.config._attn_implementation == NAME
    rows = [backend.renderer.tokenizer(text)["input_ids"] for text in some_texts(6, seed=8)]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [2] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        found = backend.loaded.model(ids, attention_mask=mask).logits
        expected = library(ids, attention_mask=mask).logits
    assert torch.allclose(found[mask.bool()], expected[mask.bool()], atol=1e-4)

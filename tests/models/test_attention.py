from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import apart
from torch.nn.functional import scaled_dot_product_attention

from steelyard.models import attention
from steelyard.models.attention import Packing, attend, causal, take

WIDTH = 8
lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def by_pytorch(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    hidden: torch.Tensor | None,
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """One softmax over the prefix and the row's own keys, repeated for every row and head."""
    rows, length, heads, _ = query.shape
    group = heads // key.shape[1]
    mask = torch.zeros(rows, 1, length, key.shape[2])
    if hidden is not None:
        mask = mask + hidden[:, :, :, 0]
    if prefix is not None:
        key, value = (
            torch.cat([shared.expand(rows, -1, -1, -1), own], dim=2)
            for shared, own in zip(prefix, (key, value), strict=True)
        )
        mask = torch.cat([torch.zeros(rows, 1, length, prefix[0].shape[1]), mask], dim=-1)
    key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    out = scaled_dot_product_attention(query.transpose(1, 2), key, value, attn_mask=mask)
    return out.transpose(1, 2).flatten(2)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 5),
    heads=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    length=st.integers(1, 4),
    before=st.integers(0, 5),
    shared=st.integers(0, 5),
    masks=st.sampled_from(["none", "one", "each"]),
    limits=st.tuples(
        st.sampled_from([1, 40, 200, attention.SCORES_AT_ONCE]),
        st.sampled_from([1, attention.JOINED_FROM]),
    ),
)
def test_it_is_one_softmax_of_pytorch_in_blocks_or_whole(
    rows: int,
    heads: tuple[int, int],
    length: int,
    before: int,
    shared: int,
    masks: str,
    limits: tuple[int, int],
) -> None:
    chance = torch.Generator().manual_seed(length)
    seen, (key_heads, group) = before + length, heads
    query = 3 * torch.randn(rows, length, key_heads * group, WIDTH, generator=chance)
    key, value = torch.randn(2, rows, key_heads, seen, WIDTH, generator=chance)
    prefix = None
    if shared:
        k, v = torch.randn(2, key_heads, shared, WIDTH, generator=chance)
        prefix = k, v
    hidden = None
    if masks != "none":
        unseen = torch.rand(rows if masks == "each" else 1, length, seen, generator=chance) < 0.4
        unseen &= ~torch.eye(seen, dtype=torch.bool)[before:]  # every token sees itself
        hidden = torch.zeros(unseen.shape).masked_fill(unseen, float("-inf"))[:, None, :, None, :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SCORES_AT_ONCE", limits[0])
        patch.setattr(attention, "JOINED_FROM", limits[1])
        found = attend(query, key, value, hidden=hidden, prefix=prefix)
    expected = by_pytorch(query, key, value, hidden, prefix)
    assert found.shape == (rows, length, key_heads * group * WIDTH)
    assert apart(found, expected) < 1e-5


@pytest.mark.parametrize("joined_from", [1, 100])
def test_the_gradient_with_a_prefix_is_that_of_one_softmax(
    monkeypatch: pytest.MonkeyPatch, joined_from: int
) -> None:
    monkeypatch.setattr(attention, "JOINED_FROM", joined_from)
    chance = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, 6, WIDTH, generator=chance, requires_grad=True)
    key, value = (torch.randn(3, 2, 4, WIDTH, generator=chance).requires_grad_() for _ in "kv")
    k, v = (torch.randn(2, 5, WIDTH, generator=chance).requires_grad_() for _ in "kv")
    hidden = causal(4, query.detach())
    weight = torch.randn(3, 4, 6 * WIDTH, generator=chance)
    inputs = (query, key, value, k, v)
    found = attend(query, key, value, hidden=hidden, prefix=(k, v))
    ours = torch.autograd.grad((found * weight).sum(), inputs)
    expected = by_pytorch(query, key, value, hidden, (k, v))
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for mine, other in zip(ours, theirs, strict=True):
        assert apart(mine, other) < 1e-5


def test_scores_too_large_to_exponentiate_come_out_as_numbers() -> None:
    query = torch.full((1, 1, 1, WIDTH), 100.0)
    key = torch.stack([torch.full((WIDTH,), -100.0), torch.full((WIDTH,), 100.0)])[None, None]
    value = torch.tensor([0.0, 1.0])[None, None, :, None].expand(1, 1, 2, WIDTH)
    alone = attend(query, key, value, hidden=None, prefix=None)
    assert torch.equal(alone, torch.ones(1, 1, WIDTH))
    shared = attend(query, key[:, :, :1], value[:, :, :1], hidden=None, prefix=(key[0], value[0]))
    assert torch.equal(shared, torch.ones(1, 1, WIDTH))


@pytest.mark.parametrize("shared", [0, 3])
def test_bfloat16_stays_bfloat16_and_near_float32(shared: int) -> None:
    chance = torch.Generator().manual_seed(1)
    query = torch.randn(2, 3, 4, WIDTH, generator=chance)
    key, value = torch.randn(2, 2, 2, 3, WIDTH, generator=chance)
    k, v = torch.randn(2, 2, 3, WIDTH, generator=chance)

    def run(dtype: torch.dtype) -> torch.Tensor:
        q, *own = (x.to(dtype) for x in (query, key, value))
        prefix = (k.to(dtype), v.to(dtype)) if shared else None
        return attend(q, own[0], own[1], hidden=causal(3, q), prefix=prefix)

    assert run(torch.bfloat16).dtype == torch.bfloat16
    assert apart(run(torch.bfloat16).float(), run(torch.float32)) < 0.02


def test_what_comes_later_is_hidden() -> None:
    hidden = causal(3, torch.zeros(1))
    assert hidden is not None
    none, out = 0.0, float("-inf")
    assert hidden[0, 0, :, 0].tolist() == [[none, out, out], [none, none, out], [none, none, none]]
    assert causal(1, torch.zeros(1)) is None  # nothing comes later


def test_where_packed_tokens_stand_worked_by_hand() -> None:
    # row 0: a b c     row 1: d     row 2: e f
    packing = Packing([3, 1, 2])
    assert (packing.rows, packing.longest, packing.even) == (3, 3, False)
    assert packing.row.tolist() == [0, 0, 0, 1, 2, 2]
    assert packing.place.tolist() == [0, 1, 2, 0, 0, 1]
    assert packing.last.tolist() == [2, 3, 5]
    padded = packing.pad(torch.arange(1.0, 7))
    assert padded.tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]


@settings(max_examples=30)
@given(lengths)
def test_unpad_is_the_inverse_of_pad_and_so_are_their_gradients(rows: list[int]) -> None:
    packing = Packing(rows)
    chance = torch.Generator().manual_seed(0)
    packed = torch.randn(sum(rows), 2, 3, generator=chance, requires_grad=True)
    padded = packing.pad(packed)
    expected = torch.nn.utils.rnn.pad_sequence(list(packed.split(rows)), batch_first=True)
    assert torch.equal(padded, expected)
    assert torch.equal(packing.unpad(padded), packed)

    weight = torch.randn(padded.shape, generator=chance)
    [ours] = torch.autograd.grad((padded * weight).sum(), packed)
    [theirs] = torch.autograd.grad((expected * weight).sum(), packed)
    assert torch.equal(ours, theirs)

    whole = torch.randn(padded.shape, generator=chance, requires_grad=True)
    back = torch.randn(packed.shape, generator=chance)
    [ours] = torch.autograd.grad((packing.unpad(whole) * back).sum(), whole)
    assert torch.equal(ours, packing.pad(back))  # nothing flows to where no token stands


@settings(max_examples=20)
@given(st.permutations(range(6)), st.integers(1, 6))
def test_taking_rows_is_indexing_and_so_is_its_gradient(order: Any, count: int) -> None:
    places = torch.tensor(order[:count])
    chance = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 2, generator=chance, requires_grad=True)
    weight = torch.randn(count, 2, generator=chance)
    assert torch.equal(take(rows, places), rows[places])
    [ours] = torch.autograd.grad((take(rows, places) * weight).sum(), rows)
    [theirs] = torch.autograd.grad((rows[places] * weight).sum(), rows)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shared", [0, 7])
@pytest.mark.parametrize("tiles", [True, False])
def test_prompts_read_by_the_fused_kernel_are_what_products_come_to(
    monkeypatch: pytest.MonkeyPatch, shared: int, tiles: bool
) -> None:
    monkeypatch.setattr(attention, "TILES", tiles)
    torch.manual_seed(0)
    rows, length, before, width = 3, attention.JOINED_FROM + 2, 4, 16
    query = torch.randn(rows, length, 4, width)
    key, value = torch.randn(2, rows, 2, before + length, width)
    prefix = (torch.randn(2, shared, width), torch.randn(2, shared, width)) if shared else None
    places = torch.arange(before + length)
    sees = places <= before + torch.arange(length)[:, None]
    hidden = torch.zeros(length, before + length).masked_fill(~sees, float("-inf"))
    hidden = hidden[None, None, :, None, :].expand(rows, -1, -1, -1, -1)
    expected = by_pytorch(query, key, value, hidden, prefix)

    def low(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor.bfloat16() for tensor in tensors)

    calls = []
    plain = attention.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.functional,
        "scaled_dot_product_attention",
        lambda *a, **k: calls.append(1) or plain(*a, **k),
    )
    found = attend(
        *low(query, key, value),
        hidden=hidden.bfloat16(),
        prefix=low(*prefix) if prefix else None,  # type: ignore[arg-type]
    )
    assert len(calls) == tiles
    assert (found.float() - expected).abs().max() < 0.03

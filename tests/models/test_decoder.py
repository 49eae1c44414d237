"""The packed pass against transformers, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import apart, hidden
from torch.nn import functional
from transformers import AutoModelForCausalLM

from steelyard.models import attention, lora
from steelyard.models.attention import Packing, WholeRows
from steelyard.models.decoder import Decoder, rotate
from steelyard.models.fused import Product
from tiny import open_in_float32, write_adapter

tokens = st.integers(3, 250)
some = st.lists(tokens, min_size=1, max_size=12)


def packed(
    decoder: Decoder, shared: list[int], rows: list[list[int]], *, fused: bool = False
) -> list[torch.Tensor]:
    """Hidden states of the shared beginning, if any, and of the tokens of each row after it."""
    sizes = [len(row) for row in rows]
    packing = Packing(sizes) if rows else None
    ids = torch.tensor(shared + [token for row in rows for token in row])
    places = [*range(len(shared)), *(len(shared) + i for row in rows for i in range(len(row)))]
    attend = WholeRows(len(shared), packing, decoder.head.weight, fused=fused)
    found = decoder(ids, torch.tensor(places), attend)
    return list(found.split([len(shared), *sizes]))


@pytest.fixture
def adapted(tiny_folder: Path) -> Decoder:
    """A decoder with an adapter of random weights that learns, and is active."""
    decoder: Decoder = open_in_float32(tiny_folder).loaded.decoder
    chance = torch.Generator().manual_seed(5)
    lora.add(decoder.model, "x", rank=4, alpha=8, seed=0)
    state = lora.tensors(decoder.model, "x")
    state = {k: v.normal_(0, 0.2, generator=chance) for k, v in state.items()}
    lora.assign(decoder.model, "x", state)
    return decoder


@pytest.fixture(scope="module")
def with_adapter(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """One decoder for all examples of a property, with the adapter "random 1"."""
    backend = open_in_float32(tiny_folder)
    write_adapter(tmp_path_factory.mktemp("adapter"), backend, seed=1)
    decoder: Decoder = backend.loaded.decoder
    return decoder


@settings(max_examples=25)
@given(shared=st.just([]) | some, rows=st.lists(some, max_size=4), fused=st.booleans())
def test_whole_rows_have_the_librarys_states_with_a_shared_beginning_and_without(
    tiny: Any, library: Any, shared: list[int], rows: list[list[int]], fused: bool
) -> None:
    if not shared + rows:
        return
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "QUERIES_AT_ONCE", 3)
        tiny.loaded.decoder.switch.active = None
        first, *found = packed(tiny.loaded.decoder, shared, rows, fused=fused)
        if shared:
            assert apart(first, hidden(library, shared)) < 1e-5
        for row, states in zip(rows, found, strict=True):
            assert apart(states, hidden(library, shared + row)[len(shared) :]) < 1e-5


def test_logits_are_the_librarys(tiny: Any, library: Any) -> None:
    ids = [5, 90, 17, 30]
    with torch.inference_mode():
        tiny.loaded.decoder.switch.active = None
        [_, states] = packed(tiny.loaded.decoder, [], [ids])
        found = tiny.loaded.decoder.logits(states)
        assert apart(found, library(torch.tensor([ids])).logits[0]) < 1e-5


def test_an_adapted_decoder_in_bfloat16_is_near_the_library(tiny_folder: Path) -> None:
    ids = [5, 90, 17, 30, 8, 200]
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    decoder = Decoder(model)
    lora.add(model, "x", rank=4, alpha=8, seed=0)
    state = {k: v.fill_(0.05) for k, v in lora.tensors(model, "x").items()}
    lora.assign(model, "x", state)
    with torch.inference_mode():
        for adapter in ("x", None):
            decoder.switch.active = adapter
            [_, states] = packed(decoder, [], [ids])
            assert states.dtype == torch.bfloat16
            assert apart(states.float(), hidden(model, ids).float()) < 0.05


def test_a_rotation_worked_by_hand() -> None:
    quarter = torch.zeros(1, 1, 2), torch.ones(1, 1, 2)  # cos and sin of a right angle
    found = rotate(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), *quarter)
    assert found.tolist() == [[[-3.0, -4.0, 1.0, 2.0]]]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="there is no oneDNN here")
@pytest.mark.parametrize("rows", [1, 5, 64, 200])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_laid_out_for_the_processor_is_the_plain_one(rows: int, *, biased: bool) -> None:
    chance = torch.Generator().manual_seed(rows)
    x, weight = (torch.randn(n, 48, generator=chance).bfloat16() for n in (rows, 80))
    bias = torch.randn(80, generator=chance).bfloat16() if biased else None
    expected = functional.linear(x, weight, bias)
    laid_out = Product(weight, bias, lay_out=True)
    for _ in range(2):  # the second time with what the first one kept
        with torch.inference_mode():
            found = laid_out(x)
        assert (found.shape, found.dtype) == (expected.shape, torch.bfloat16)
        assert apart(found.float(), expected.float()) < 0.005
    learning = x.clone().requires_grad_()
    out = laid_out(learning)
    assert apart(out.detach().float(), expected.float()) < 0.005
    [gradient] = torch.autograd.grad(out.float().sum(), learning)
    assert apart(gradient.float(), weight.float().sum(0).expand_as(x)) < 0.01


def test_fused_layers_hold_nothing_twice(tiny_folder: Path) -> None:
    decoder = open_in_float32(tiny_folder).loaded.decoder
    for layer in decoder.layers:
        for fused in (layer.into, layer.out, layer.gate_and_up, layer.down):
            storage = fused.product.weight.untyped_storage().data_ptr()
            for part in fused.parts:
                assert part.base.weight.untyped_storage().data_ptr() == storage


@settings(max_examples=10)
@given(shared=st.just([]) | some, rows=st.lists(some, min_size=1, max_size=3))
def test_an_adapter_does_what_its_layers_do_one_by_one(
    with_adapter: Decoder, library: Any, shared: list[int], rows: list[list[int]]
) -> None:
    decoder = with_adapter
    decoder.switch.active = "random 1"
    with torch.inference_mode():
        _, *found = packed(decoder, shared, rows)
        for row, states in zip(rows, found, strict=True):
            expected = hidden(decoder.model, shared + row)[len(shared) :]
            assert apart(states, expected) < 1e-5
            assert apart(states, hidden(library, shared + row)[len(shared) :]) > 1e-2
        decoder.switch.active = None
        _, *plain = packed(decoder, shared, rows)
        for row, states in zip(rows, plain, strict=True):
            assert apart(states, hidden(library, shared + row)[len(shared) :]) < 1e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_adapter_learns_as_through_its_layers_one_by_one(
    adapted: Decoder, *, checkpointing: bool
) -> None:
    shared, rows = [7, 90, 30], [[5, 6, 200], [40], [8, 9]]
    parameters = [p for p in adapted.model.parameters() if p.requires_grad]
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    adapted.checkpointing = checkpointing
    _, *found = packed(adapted, shared, rows)
    ours = torch.autograd.grad((torch.cat(found) * weight).sum(), parameters)
    expected = torch.cat([hidden(adapted.model, shared + row)[len(shared) :] for row in rows])
    theirs = torch.autograd.grad((expected * weight).sum(), parameters)
    assert len(ours) == 2 * 2 * 7
    for mine, other in zip(ours, theirs, strict=True):
        assert apart(mine, other) < 1e-5


def test_a_frozen_adapter_is_prepared_once_and_one_that_learns_every_time(
    adapted: Decoder,
) -> None:
    fused = adapted.layers[0].into
    with torch.inference_mode():
        [_, before] = packed(adapted, [], [[5, 6]])
        assert not fused._frozen
        for part in fused.parts:
            part.adapters["x"].b.mul_(2)
        [_, after] = packed(adapted, [], [[5, 6]])
        assert apart(after, before) > 1e-3
        for layer in lora.layers(adapted.model):
            pair: Any = layer[1].adapters["x"]
            pair.freeze()
        [_, frozen] = packed(adapted, [], [[5, 6]])
    assert apart(frozen, after) < 1e-6
    assert list(fused._frozen) == ["x"]

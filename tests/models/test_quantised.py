"""A base of four bits, on the CPU where bitsandbytes is installed."""

from __future__ import annotations

import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from steelyard.core import Weights
from steelyard.errors import MissingExtraError, ModelError
from steelyard.models import check_quantising
from steelyard.models.decoder import Decoder
from steelyard.training import learner


def test_without_a_gpu_it_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r'"qlora" need a CUDA GPU.*method = "lora"'):
        check_quantising()


def test_without_bitsandbytes_it_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"steelyard\[qlora\]"):
        check_quantising()


def test_an_adapter_learns_beside_a_base_that_is_a_few_bits_off() -> None:
    pytest.importorskip("bitsandbytes")
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=64,  # bitsandbytes takes blocks of 64 numbers
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = Decoder(LlamaForCausalLM(config).eval())
        x = torch.randn(5, 64, requires_grad=True)
    whole = {id(f): f.product.weight.clone() for f in decoder.fused()}
    learning = learner.begin(decoder, Weights("qlora", rank=4), seed=0)
    for fused in decoder.fused():
        exact, packed = whole[id(fused)], fused.product
        assert packed.weight.is_meta
        near = packed.matrix()
        assert 0.05 < float((near - exact).norm() / exact.norm()) < 0.12  # NF4 of normal numbers
        if exact.shape[1] == 64:
            [gradient] = torch.autograd.grad(packed(x).sum(), x)
            torch.testing.assert_close(gradient, near.sum(0).expand(5, -1))
    assert all(parameter.requires_grad for parameter in learning.parameters)

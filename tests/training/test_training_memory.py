"""What training holds beside the model, and how that bounds a micro-batch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from steelyard.core import ModelSpec, Weights
from steelyard.models import lora
from steelyard.models.decoder import MICRO_BATCH_TOKENS, Decoder
from steelyard.training import Job, TrainingRow, batches, worker
from steelyard.training.batches import (
    Encoded,
    bytes_per_token,
    fit_memory,
    micro_batches,
    pack,
    tokens_at_once,
)
from steelyard.training.objective import Examples
from tiny import WORDS, ask, open_in_float32


def rows_of(count: int, length: int, *, shared: int = 0) -> list[Encoded]:
    return [Encoded([7] * shared + [30 + n] * (length - 1 - shared), [2]) for n in range(count)]


@pytest.fixture(scope="module")
def slim() -> Decoder:
    """Two layers with the proportions of SmolLM2-135M, a third as wide, and an adapter."""
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=1024,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = Decoder(LlamaForCausalLM(config).eval())
    lora.add(decoder.model, "x", rank=4, alpha=8, seed=0)
    return decoder


def kept_bytes(decoder: Decoder, rows: list[Encoded]) -> int:
    """What autograd keeps of one pass, the weights apart."""
    weights = {p.untyped_storage().data_ptr() for p in decoder.model.parameters()}
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = Examples().loss(decoder, rows)
    assert loss.requires_grad
    return sum(t.untyped_storage().nbytes() for at, t in held.items() if at not in weights)


@pytest.mark.parametrize(
    "rows",
    [rows_of(20, 32), rows_of(4, 200), rows_of(1, 600), rows_of(8, 120, shared=90)],
    ids=["short", "long", "one", "shared"],
)
def test_a_token_keeps_no_more_than_is_said_and_no_less_than_half(
    slim: Decoder, rows: list[Encoded]
) -> None:
    num_tokens = len(pack(rows, slim.device).ids)
    said = num_tokens * bytes_per_token(slim, max(map(len, rows)))
    assert said / 2 < kept_bytes(slim, rows) < said


def test_one_long_row_among_short_ones_keeps_little_more_than_apart(slim: Decoder) -> None:
    rows = [*rows_of(31, 10), Encoded([90] * 799, [2])]
    together = kept_bytes(slim, rows)
    split = [kept_bytes(slim, micro) for micro in micro_batches(rows, slim.tokens_at_once)]
    assert len(split) == 2
    assert max(split) < together / 5


SHAPE: dict[str, int] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
}


def as_smollm(*, checkpointing: bool) -> Any:
    return SimpleNamespace(
        config=SimpleNamespace(**SHAPE), dtype=torch.bfloat16, checkpointing=checkpointing
    )


def test_how_many_tokens_go_at_once_worked_by_hand() -> None:
    plain, twice = as_smollm(checkpointing=False), as_smollm(checkpointing=True)
    # 30 layers of 10 · 576 + 6 · 1536 + 9 · 100 elements of two bytes
    assert bytes_per_token(plain, 100) == 30 * 15_876 * 2
    assert bytes_per_token(twice, 100) == 30 * 576 * 2
    assert tokens_at_once(plain, 100, 952_560_000) == 1000
    assert tokens_at_once(plain, 100, 952_559_999) == 999
    assert tokens_at_once(plain, 100, 0) == 1
    assert tokens_at_once(plain, 100, 10**12) == MICRO_BATCH_TOKENS


def test_a_step_has_two_lanes_where_each_can_hold_the_longest_row(
    slim: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(3, 100)
    two = 2 * 100 * bytes_per_token(slim, 100) / 1e9
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    fit_memory(slim, rows, two + 1e-9)
    assert (slim.lanes, slim.tokens_at_once) == (2, 100)
    fit_memory(slim, rows, 0.99 * two)
    assert slim.lanes == 1
    assert 100 < slim.tokens_at_once < 200
    assert not slim.checkpointing
    slim.switch.dropout = 0.1  # all threads would share its chance
    fit_memory(slim, rows, 1.0)
    assert slim.lanes == 1
    slim.switch.dropout = 0.0
    with monkeypatch.context() as patch:
        patch.setattr(torch.distributed, "is_initialized", lambda: True)
        fit_memory(slim, rows, 1.0)
        assert slim.lanes == 1
    fit_memory(slim, rows, 1.0)
    assert slim.lanes == 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    fit_memory(slim, rows, 1.0)
    assert slim.lanes == 1


def test_a_child_that_may_hold_little_learns_the_same_in_smaller_pieces(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*WORDS, " ".join(WORDS)]
    weights = Weights("lora", rank=2, alpha=4, epochs=2, batch_size=12)
    sizes: list[list[int]] = []
    split = batches.micro_batches

    def watched(*given: Any) -> Any:
        found = list(split(*given))
        sizes.append([len(micro) for micro in found])
        return found

    monkeypatch.setattr(batches, "micro_batches", watched)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)

    def train(memory_gb: float, name: str) -> tuple[Decoder, list[float]]:
        backend = open_in_float32(tiny_folder)
        monkeypatch.setattr(worker, "open_backend", lambda *_, **__: backend)
        rows = tuple(TrainingRow(ask(text), "fee", text) for text in texts)
        spec = ModelSpec("tiny", "tiny")
        job = Job(spec, backend.fingerprint, weights, 0, rows, memory_gb=memory_gb)
        curve: Any = worker._train_model(job, tmp_path / name, tmp_path / name, lambda _: None)
        return backend.loaded.decoder, [point["train_loss"] for point in curve["points"]]

    roomy, losses = train(2.0, "roomy")
    assert not roomy.checkpointing
    assert sizes == [[12], [12]]
    sizes.clear()
    longest = 64
    enough = longest * bytes_per_token(roomy, longest)
    tight, same_losses = train(enough / 20 / 1e9, "tight")
    assert tight.checkpointing
    assert len(sizes[0]) > 1
    assert same_losses == pytest.approx(losses, rel=1e-5)

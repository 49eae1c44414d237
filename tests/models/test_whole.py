"""Whole models that were trained: their files, and the backend of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from steelyard.core import Weights
from steelyard.errors import StoreError
from steelyard.models import Sampling, loading
from steelyard.training import learner
from tiny import WORDS, ask, open_in_float32

PROMPTS = [ask(word) for word in WORDS]
IDS = torch.tensor([[1, 50, 60, 70, 80, 2]])


@pytest.fixture(autouse=True)
def _in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "number_type", lambda: torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def changed(tiny_folder: Path, tmp_path: Path) -> tuple[Any, Path]:
    """A backend whose weights were moved in place, and the folder they were saved in."""
    backend = open_in_float32(tiny_folder)
    decoder = backend.loaded.decoder
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        learning = learner.begin(decoder, Weights("full"), seed=0)
        for parameter in learning.parameters:
            parameter += 0.1 * torch.randn(parameter.shape, generator=chance)
        learning.stepped()
    learning.save(tmp_path / "w", backend.loaded)
    return backend, tmp_path / "w"


def test_the_backend_serves_what_was_saved_beside_its_base(
    tiny_folder: Path, changed: tuple[Any, Path]
) -> None:
    trained, folder = changed
    base = open_in_float32(tiny_folder)
    before = base.generate(PROMPTS, Sampling(8))
    served = base.adapted(folder)
    assert served.generate(PROMPTS, Sampling(8)) == trained.generate(PROMPTS, Sampling(8))
    assert served.generate(PROMPTS, Sampling(8)) != before
    assert base.generate(PROMPTS, Sampling(8)) == before
    assert served.fingerprint != base.fingerprint
    assert served.context_tokens == base.context_tokens


def test_transformers_reads_the_folder_and_computes_the_same(changed: tuple[Any, Path]) -> None:
    trained, folder = changed
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        torch.testing.assert_close(
            theirs(IDS).logits, trained.loaded.decoder.model(IDS).logits, atol=1e-5, rtol=1e-5
        )


def test_every_weight_is_in_the_file_once_with_the_hash_of_the_base(
    tiny_folder: Path, changed: tuple[Any, Path]
) -> None:
    _, folder = changed
    original = AutoModelForCausalLM.from_pretrained(tiny_folder).state_dict()
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        assert set(weights.keys()) == set(original)
        moved = {k: not torch.equal(weights.get_tensor(k), original[k]) for k in original}
        assert all(moved.values())
        base = open_in_float32(tiny_folder).loaded.fingerprint
        assert weights.metadata() == {"format": "pt", "steelyard_base": base}


def test_another_base_refuses_it_and_so_does_a_damaged_file(
    tiny_folder: Path, changed: tuple[Any, Path]
) -> None:
    _, folder = changed
    backend = open_in_float32(tiny_folder)
    backend.loaded.fingerprint = "another"
    with pytest.raises(StoreError, match=r"trained from base .* and this base is another"):
        backend.adapted(folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="no model that can be read there"):
        backend.adapted(folder)

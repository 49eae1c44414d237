"""Exported weights say what the trained model says, in every format, and know their base."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from steelyard.errors import InputError, StoreError
from steelyard.training import gguf_files
from steelyard.training.export import FORMATS, export, merged_tensors, refuse_other_base
from steelyard.training.export_checks import Check, Row, check, distance
from tiny import ask, open_in_float32, some_texts, write_adapter, write_tiny_model

LLAMA = importlib.util.find_spec("xllamacpp") is not None
IDS = torch.tensor([[1, 50, 60, 70, 80, 2]])


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    backend = open_in_float32(tiny_folder)
    adapter = write_adapter(tmp_path_factory.mktemp("adapter"), backend, seed=1)
    adapted = backend.adapted(adapter)
    adapted.source = str(tiny_folder)
    return adapted


def log_probs(backend: Any) -> torch.Tensor:
    from steelyard.models.reading import next_log_probs

    with backend.speaking():
        [(_, found)] = next_log_probs(backend.loaded.decoder, [(IDS[0].tolist(), 0)])
    return found


def rows(backend: Any, count: int = 4) -> list[Row]:
    renderer = backend.renderer
    return [
        Row(renderer.text(ask(t)), renderer.prompt_ids(ask(t)), renderer.target_ids("card lost"))
        for t in some_texts(count, seed=1)
    ]


# ---------------------------------------------------------------- the formats


def test_a_merged_model_loads_in_plain_transformers_and_says_the_same(
    trained: Any, tmp_path: Path
) -> None:
    trained.loaded.decoder.model.config.quantization_config = {"quant_method": "gguf"}
    try:
        export(trained, "merged", tmp_path)
    finally:
        del trained.loaded.decoder.model.config.quantization_config
    config = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in config
    with safe_open(tmp_path / "model.safetensors", framework="pt") as weights:
        assert weights.metadata()["steelyard_base"] == trained.loaded.fingerprint
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    found = torch.log_softmax(model(IDS).logits[0], dim=-1)
    assert torch.allclose(found, log_probs(trained), atol=1e-3)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.chat_template == trained.renderer.tokenizer.chat_template
    [one] = check(trained, "merged", tmp_path, rows(trained))
    assert (one.by, one.passed) == ("transformers", True)
    assert one.distance is not None
    assert one.distance < 1e-3


def test_merging_leaves_out_adapters_and_a_head_that_is_the_embedding(trained: Any) -> None:
    names = dict(merged_tensors(trained))
    plain = AutoModelForCausalLM.from_pretrained(trained.source)
    assert set(names) == set(plain.state_dict())
    head, trained.loaded.decoder.model.lm_head = (
        trained.loaded.decoder.model.lm_head,
        torch.nn.Linear(1, 1),
    )
    try:
        trained.loaded.decoder.model.lm_head.weight = (
            trained.loaded.decoder.model.model.embed_tokens.weight
        )
        assert set(names) - set(dict(merged_tensors(trained))) == {"lm_head.weight"}
    finally:
        trained.loaded.decoder.model.lm_head = head


@pytest.mark.parametrize("kind", [{"dora": True}, {"rank_stabilised": True}])
def test_other_kinds_of_adapters_are_merged_as_they_answer(
    tiny_folder: Path, tmp_path: Path, kind: dict[str, bool]
) -> None:
    backend = open_in_float32(tiny_folder)
    adapted = backend.adapted(write_adapter(tmp_path / "adapter", backend, seed=2, **kind))
    (tmp_path / "merged").mkdir()
    export(adapted, "merged", tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    found = torch.log_softmax(model(IDS).logits[0], dim=-1)
    assert torch.allclose(found, log_probs(adapted), atol=1e-3)
    if "dora" in kind:
        with pytest.raises(InputError, match="an adapter of DoRA has no form in GGUF"):
            export(adapted, "gguf-adapter", tmp_path)
    else:
        path = export(adapted, "gguf-adapter", tmp_path)
        alpha = gguf.GGUFReader(path).fields["adapter.lora.alpha"].contents()
        assert alpha / 4 == pytest.approx(8 / math.sqrt(4))


def test_a_whole_model_carries_the_hash_of_what_it_was(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    export(trained, "merged", tmp_path / "x")
    base = open_in_float32(Path(trained.source))
    again = base.adapted(tmp_path / "x")  # a folder of our own making is a whole model of ours
    assert again.adapter is None
    assert again.base == base.loaded.fingerprint != again.loaded.fingerprint
    (tmp_path / "y").mkdir()
    refuse_other_base(export(again, "merged", tmp_path / "y"), base.loaded.fingerprint)
    other = open_in_float32(write_tiny_model(tmp_path / "other", seed=9))
    with pytest.raises(StoreError, match="trained from base"):
        other.adapted(tmp_path / "y")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_an_adapter_is_checked_by_peft(trained: Any, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    export(trained, "peft", tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    [one] = check(trained, "peft", tmp_path, rows(trained))
    assert (one.by, one.passed) == ("peft", True)
    assert one.distance is not None
    assert one.distance < 1e-3


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_a_gguf_model_holds_the_merged_weights_in_llama_cpps_order(
    trained: Any, tmp_path: Path, kind: Any
) -> None:
    path = export(trained, "gguf" if kind == "f16" else "gguf-q8_0", tmp_path)
    assert path.name == f"model-{kind}.gguf"
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype=torch.float32
    )  # transformers weaves the rows back
    merged = dict(merged_tensors(trained))
    close = 2e-3 if kind == "f16" else 2e-2
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        key = f"model.layers.1.self_attn.{name}.weight"
        assert torch.allclose(model.state_dict()[key], merged[key], atol=close), key
    reader = gguf.GGUFReader(path)
    q = next(t for t in reader.tensors if t.name == "blk.1.attn_q.weight")
    assert q.tensor_type.name == kind.upper()
    assert gguf_files.base_of(path) == trained.loaded.fingerprint


def test_a_gguf_adapter_weaves_b_of_query_and_key_and_nothing_else(
    trained: Any, tmp_path: Path
) -> None:
    path = export(trained, "gguf-adapter", tmp_path)
    reader = gguf.GGUFReader(path)
    found = {t.name: torch.from_numpy(np.array(t.data)) for t in reader.tensors}
    theirs = load_file(trained.folder / "adapter_model.safetensors")
    for layer, own in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v")):
        prefix = f"base_model.model.model.layers.0.self_attn.{layer}"
        assert torch.equal(found[f"blk.0.{own}.weight.lora_a"], theirs[f"{prefix}.lora_A.weight"])
        b, ours = theirs[f"{prefix}.lora_B.weight"], found[f"blk.0.{own}.weight.lora_b"]
        assert torch.equal(ours, b) == (layer == "v_proj")
        assert sorted(ours.flatten().tolist()) == sorted(b.flatten().tolist())
    alpha = reader.fields["adapter.lora.alpha"].contents()
    assert (alpha, len(found)) == (8.0, 2 * 2 * 7)


@given(st.integers(1, 4), st.integers(1, 6))
def test_woven_rows_come_back(heads: int, half: int) -> None:
    rows = torch.arange(heads * 2 * half * 3).reshape(heads * 2 * half, 3)
    woven = gguf_files.woven(rows, heads)
    back = woven.reshape(heads, half, 2, 3).transpose(1, 2).reshape(rows.shape)
    assert torch.equal(back, rows)
    assert torch.equal(woven[1], rows[half])  # the pair of the first row is half a head away


# ---------------------------------------------------------------- llama.cpp


@pytest.mark.skipif(not LLAMA, reason="llama.cpp (the extra llama) is not installed")
@pytest.mark.parametrize("format", ["gguf", "gguf-q8_0", "gguf-adapter"])
def test_llama_cpp_says_what_the_trained_model_says(
    trained: Any, tmp_path: Path, format: str
) -> None:
    path = export(trained, format, tmp_path)
    said, cut = check(trained, format, path, rows(trained, 2))
    assert said.passed, said
    assert cut.distance == 0.0


@pytest.mark.skipif(not LLAMA, reason="llama.cpp (the extra llama) is not installed")
def test_llama_cpp_shows_what_an_unwoven_adapter_spoils(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = check(trained, "gguf-adapter", export(trained, "gguf-adapter", tmp_path), rows(trained))
    monkeypatch.setattr(gguf_files, "woven", lambda rows, heads: rows)
    (tmp_path / "wrong").mkdir()
    path = export(trained, "gguf-adapter", tmp_path / "wrong")
    monkeypatch.undo()
    wrong = check(trained, "gguf-adapter", path, rows(trained))
    assert right[0].distance is not None
    assert wrong[0].distance is not None
    assert wrong[0].distance > 5 * right[0].distance
    assert not wrong[0].passed


def test_a_checker_that_is_not_there_is_named(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    hidden = ("xllamacpp", "peft")
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in hidden else find(n))
    for format in ("gguf", "peft"):
        folder = tmp_path / format
        folder.mkdir()
        [one] = check(trained, format, export(trained, format, folder), rows(trained))
        assert (one.distance, one.passed) == (None, False)
        assert str(one).startswith(f"not checked by {one.by}: ")
        assert "pip install" in str(one)


# ---------------------------------------------------------------- bases


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_refuses_another_base(trained: Any, tmp_path: Path, format: str) -> None:
    path = export(trained, format, tmp_path)
    refuse_other_base(path, trained.loaded.fingerprint)
    with pytest.raises(StoreError, match=r"made from base .*, and this base is"):
        refuse_other_base(path, "another")


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no")
    for path in (tmp_path / "x.gguf", tmp_path):
        with pytest.raises(StoreError, match="that can be read"):
            refuse_other_base(path, "base")


def test_an_exported_adapter_answers_again_over_its_base_alone(
    trained: Any, tmp_path: Path
) -> None:
    export(trained, "peft", tmp_path)
    again = open_in_float32(Path(trained.source)).adapted(tmp_path)
    assert torch.equal(log_probs(again), log_probs(trained))
    other = open_in_float32(write_tiny_model(tmp_path / "other", seed=9))
    with pytest.raises(StoreError, match="trained on base"):
        other.adapted(tmp_path)


def test_a_model_without_an_adapter_has_no_adapter_to_export(
    tiny_folder: Path, tmp_path: Path
) -> None:
    plain = open_in_float32(tiny_folder)
    for format in ("peft", "gguf-adapter"):
        with pytest.raises(InputError, match="is no adapter over a base"):
            export(plain, format, tmp_path)
    export(plain, "merged", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert torch.allclose(torch.log_softmax(model(IDS).logits[0], -1), log_probs(plain), atol=1e-3)


def test_a_family_that_rotates_otherwise_is_refused() -> None:
    config = SimpleNamespace(model_type="llama", rope_parameters={"rope_type": "llama3"})
    with pytest.raises(InputError, match='rope type "llama3" cannot be written as GGUF'):
        gguf_files.family_of(config)


# ---------------------------------------------------------------- distances


def test_the_distance_is_over_the_likeliest_tokens_of_the_first_model() -> None:
    wanted = torch.log_softmax(torch.arange(20.0)[None], dim=1)
    assert distance(wanted, wanted) == 0.0
    found = wanted.clone()
    found[0, :10] -= 5  # not among the ten likeliest
    assert distance(wanted, found) == 0.0
    found[0, 19] -= 1
    assert distance(wanted, found) == pytest.approx(0.1)


def test_a_check_passes_within_its_tolerance_alone() -> None:
    assert Check("x", 0.1, 0.1).passed
    assert not Check("x", 0.11, 0.1).passed
    assert not Check("x", float("nan"), 0.1).passed
    assert str(Check("x", 0.25, 0.1)) == "x: 0.2500 is beyond the tolerance of 0.1"

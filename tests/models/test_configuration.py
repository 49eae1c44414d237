"""A model's config.json without its weights, from every place that a model can be in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steelyard.errors import ModelError
from steelyard.models.configuration import model_config
from steelyard.models.gguf_header import read_header

CONFIG = {"model_type": "llama", "hidden_size": 32}


def test_a_folder_with_a_config_and_no_weights_is_enough(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert model_config(str(tmp_path)) == CONFIG


def test_a_cached_hub_id_is_read_from_the_cache(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG), encoding="utf-8")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda hub_id, name: str(file))
    assert model_config("owner/name") == CONFIG
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda hub_id, name: None)
    with pytest.raises(ModelError, match=r'config\.json of "owner/name" is not in the cache'):
        model_config("owner/name")


def write_gguf(path: Path, *, head: bool) -> Path:
    gguf = pytest.importorskip("gguf")
    np = pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(256)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", np.zeros((3, 32), dtype=np.float32))
    if head:
        writer.add_tensor("output.weight", np.zeros((3, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("head", [False, True])
def test_a_gguf_says_the_same_in_its_own_words(tmp_path, head):
    path = write_gguf(tmp_path / "x.gguf", head=head)
    assert model_config(str(path)) == {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "vocab_size": 3,
        "tie_word_embeddings": not head,
    }


def test_a_gguf_that_lacks_its_sizes_is_refused_with_its_path(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + b"\0" * 8)
    with pytest.raises(ModelError, match=r"x\.gguf: cannot be read as a \.gguf model"):
        model_config(str(tmp_path / "x.gguf"))


def test_a_header_says_what_the_gguf_package_says(tmp_path):
    gguf, np = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["a", "bé", ""])
    writer.add_token_scores([0.5, -1.25, 0.0])
    writer.add_head_count_kv([2, 4])
    writer.add_bool("some.truth", True)
    writer.add_string("some.text", "né")
    writer.add_int64("some.number", -(2**40))
    writer.add_float64("some.share", 0.1)
    for name, shape in (("a.weight", (3, 4)), ("b", (2, 3, 4))):
        writer.add_tensor(name, np.zeros(shape, dtype=np.float16))
    for write in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{write}_to_file")()
    writer.close()
    found, theirs = read_header(path), gguf.GGUFReader(path)
    said = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert said.pop("tokenizer.ggml.tokens") == ["a", "bé", ""]
    assert {k: [*v] if isinstance(v, tuple) else v for k, v in found.values.items()} == said
    assert found.lengths == {
        "tokenizer.ggml.tokens": 3,
        "tokenizer.ggml.scores": 3,
        "llama.attention.head_count_kv": 2,
    }
    assert found.tensors == [tensor.name for tensor in theirs.tensors] == ["a.weight", "b"]


def test_a_header_that_ends_anywhere_or_claims_too_much_is_no_model(tmp_path):
    whole = write_gguf(tmp_path / "x.gguf", head=False).read_bytes()
    end = whole.index(b"token_embd.weight")
    cut = tmp_path / "cut.gguf"
    for size in range(0, end, 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"cannot be read as a \.gguf model"):
            model_config(str(cut))
    cut.write_bytes(whole[:24] + b"\xff" * 100)  # a key of 2^64 - 1 characters
    with pytest.raises(ModelError, match="ends in the middle of its header"):
        model_config(str(cut))


def test_what_is_nowhere_is_refused():
    with pytest.raises(ModelError, match='"nowhere" is not there'):
        model_config("nowhere")

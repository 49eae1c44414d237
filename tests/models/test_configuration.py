"""A model's config.json without its weights, from every place that a model can be in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steelyard.errors import ModelError
from steelyard.models.configuration import model_config

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


def test_what_is_nowhere_is_refused():
    with pytest.raises(ModelError, match='"nowhere" is not there'):
        model_config("nowhere")

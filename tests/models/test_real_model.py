"""The embedded model from its package: slow, and the only tests that need real weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from plain import answers, by_a_loop, by_the_library, log_prob, spelt
from transformers import AutoModelForCausalLM

from steelyard.core import ModelSpec
from steelyard.models import (
    Message,
    Prompt,
    Sampling,
    generation,
    loading,
    open_backend,
    opening,
    places,
    sharing,
    torch_backend,
)
from steelyard.models.attention import Packing, WholeRows
from steelyard.models.contracts import check_backend
from tiny import ask, open_in_float32

pytestmark = pytest.mark.slow

DEFAULT = ModelSpec("default", "default")
QUESTIONS = [
    ask("What is the capital of France? Answer in one word."),
    ask("Name a fruit that is yellow.", "Answer in one short sentence."),
    ask("List three primary colours."),
]
LABELS = ["card", "card arrival", "card_linking", "top up", "top up failed", "exchange rate", ""]
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["card", "transfer", "other", None]},
        "urgent": {"type": "boolean"},
        "summary": {"type": "string", "maxLength": 20},
    },
    "required": ["kind", "urgent", "summary"],
    "additionalProperties": False,
}
INSTRUCTION = (
    "You read messages that customers send to their bank. Say in one short sentence what the "
    "customer wants, then name the product that it is about, such as card, account, transfer or "
    "exchange. Write nothing else, and do not answer the message itself."
)
SHOT = (
    Message("user", "I cannot see my card in the app, what do I do?"),
    Message("assistant", "The customer wants to link a card. Product: card."),
)
TEXTS = [
    "My card has not arrived yet.",
    "Why was I charged a fee for a transfer to my sister last week? It used to be free.",
    "top up failed",
    "What is your exchange rate for dollars today?",
    "I lost my card on a trip and someone has paid with it since. Please block it at once!",
]


def messages() -> list[Prompt]:
    """Ten prompts of one instruction, half of them with an example before the question."""
    plain = [ask(text, INSTRUCTION) for text in TEXTS]
    return [*plain, *((head, *SHOT, asked) for head, asked in plain)]


MESSAGES = messages()


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
    load = loading._from_pretrained

    def watched(source: str, dtype: Any, gguf_file: str | None = None) -> Any:
        read.extend([gguf_file] if gguf_file else [])
        return load(source, dtype, gguf_file)

    patch.setattr(loading, "_from_pretrained", watched)
    return read


@pytest.fixture(scope="module")
def backend(converted: list[str]) -> Any:
    return open_backend(DEFAULT)


@pytest.fixture(scope="module")
def folder(backend: Any) -> Path:
    """Where the dequantised weights are."""
    [folder] = (places.cache_folder() / "models").iterdir()
    return folder


@pytest.fixture(scope="module")
def exact(folder: Path) -> Any:
    """The same weights in float32."""
    return open_in_float32(folder)


@pytest.fixture(scope="module")
def library(folder: Path) -> Any:
    """The same weights in float32 as transformers itself runs them."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_a_gguf_is_dequantised_once(
    backend: Any, converted: list[str], patch: pytest.MonkeyPatch
) -> None:
    assert len(converted) == 1
    patch.setattr(opening, "_loaded", {})  # as in another process
    again = open_backend(DEFAULT)
    assert len(converted) == 1
    assert again.fingerprint == backend.fingerprint
    [folder] = (places.cache_folder() / "models").iterdir()
    assert {"config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert list(folder.glob("*.safetensors"))


def test_what_is_kept_is_what_the_gguf_holds(backend: Any) -> None:
    gguf = Path(places.locate("default"))
    original, _ = loading._from_pretrained(str(gguf.parent), torch.float32, gguf.name)
    kept = {
        name.replace(".base.", "."): tensor
        for name, tensor in backend.loaded.decoder.model.state_dict().items()
    }
    for name, tensor in original.state_dict().items():
        assert torch.equal(kept[name].float().cpu(), tensor.to(kept[name].dtype).float()), name


def test_bfloat16_logits_are_close_to_float32(backend: Any, library: Any) -> None:
    ids = backend.renderer.prompt_ids(QUESTIONS[1])
    decoder = backend.loaded.decoder
    with torch.inference_mode():
        where = torch.arange(len(ids), device=decoder.device)
        packing = Packing([len(ids)], decoder.device)
        attend = WholeRows(0, packing, decoder.head.weight)
        states = decoder(torch.tensor(ids, device=decoder.device), where, attend)
        found = decoder.logits(states).cpu()
        expected = library(torch.tensor([ids])).logits[0]
    near = torch.nn.functional.cosine_similarity(found, expected, dim=-1)
    assert float(near.min()) > 0.99
    assert float((found - expected).abs().mean()) < 0.25  # their spread is about 4


def test_it_says_something_sensible(backend: Any) -> None:
    found = backend.generate(QUESTIONS, Sampling(40))
    assert "Paris" in found[0].text
    assert all(answer.text for answer in found)


@pytest.fixture(scope="module")
def expected(exact: Any, library: Any) -> list[Any]:
    """What transformers writes after each of `MESSAGES`, alone."""
    return [by_the_library(spelt(exact), library, prompt, 40) for prompt in MESSAGES]


@pytest.mark.parametrize(
    ("at_once", "worth", "kept"),
    [(64, 10**6, False), (64, 16, True), (3, 16, False), (1, 10**6, True)],
)
def test_tokens_are_the_librarys_in_every_batch(
    exact: Any,
    expected: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    at_once: int,
    worth: int,
    kept: bool,
) -> None:
    monkeypatch.setattr(torch_backend, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(sharing, "WORTH_TOKENS", worth)
    backend, alike = spelt(exact), ()
    if kept:
        backend.keep(MESSAGES)
        assert len(backend.kept) > 50
        alike = tuple(g.text for g in exact.generate(MESSAGES[:5], Sampling(40)))
    assert answers(backend.generate(MESSAGES, Sampling(40, alike=alike))) == expected
    assert len({tokens for _, _, tokens in expected}) > 1


def test_an_answer_like_those_that_are_known_takes_a_third_of_the_passes(
    exact: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tuple(g.text for g in exact.generate(MESSAGES, Sampling(40)))
    passes: list[int] = []
    one = generation._pass

    def counted(*given: Any) -> None:
        passes[-1] += 1
        one(*given)

    monkeypatch.setattr(generation, "_pass", counted)
    texts: list[str] = []
    for alike in ((), known):
        passes.append(0)
        [found] = exact.generate(MESSAGES[1:2], Sampling(40, alike=alike))
        texts.append(found.text)
    assert texts[0] == texts[1]
    assert 3 * passes[1] <= passes[0]


def test_questions_without_an_instruction_are_the_librarys_too(exact: Any, library: Any) -> None:
    backend = spelt(exact)
    found = answers(backend.generate(QUESTIONS, Sampling(40)))
    assert found == [by_the_library(backend, library, prompt, 40) for prompt in QUESTIONS]


def test_label_scores_are_sums_over_the_librarys_logits(exact: Any, library: Any) -> None:
    prompts = MESSAGES[4:7]
    scored = exact.score_labels(prompts, LABELS)
    for prompt, scores in zip(prompts, scored, strict=True):
        sums = [log_prob(exact, library, prompt, label) for label in LABELS]
        assert scores.log_probs == pytest.approx(sums, abs=1e-4)
    prior = [0.5 * n for n in range(len(LABELS))]
    for offsets in (None, prior):
        for scores, choice in zip(
            scored, exact.choose_labels(prompts, LABELS, offsets), strict=True
        ):
            less = offsets or [0.0] * len(LABELS)
            ranked = [a - b for a, b in zip(scores.log_probs, less, strict=True)]
            assert choice.label == ranked.index(max(ranked))
            assert choice.log_prob == pytest.approx(scores.log_probs[choice.label], abs=1e-4)
            assert choice.usage.completion_tokens < scores.usage.completion_tokens


def test_constrained_tokens_are_a_plain_loops(exact: Any, library: Any) -> None:
    backend, prompts = spelt(exact), MESSAGES[4:6]
    found = backend.generate(prompts, Sampling(60, schema=SCHEMA))
    alike = ('{"kind": "card", "urgent": true, "summary": "The card was lost."}',)
    assert backend.generate(prompts, Sampling(60, SCHEMA, alike=alike)) == found
    expected = [by_a_loop(backend, library, prompt, SCHEMA, 60) for prompt in prompts]
    assert [(g.text, g.complete) for g in found] == expected
    assert all(complete for _, complete in expected)


def test_it_keeps_the_contract(exact: Any) -> None:
    check_backend(exact)

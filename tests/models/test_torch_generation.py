"""Generation of the torch backend against the plainest way to do the same."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from transformers import AutoModelForCausalLM

from steelyard.core import Usage
from steelyard.errors import ModelError, StoreError
from steelyard.models import Prompt, Sampling, torch_backend
from steelyard.models.constrain import Constraint
from steelyard.models.kv_cache import BufferedLayer
from steelyard.models.torch_backend import BATCH_ROWS
from tiny import WORDS, ask, open_in_float32, some_texts, write_adapter, write_tiny_model

MAX_TOKENS = 30
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["card", "cash", None]},
        "words": {"type": "array", "items": {"enum": ["top", "up", "fee"]}, "maxItems": 3},
        "sure": {"type": "boolean"},
    },
    "required": ["kind", "words", "sure"],
    "additionalProperties": False,
}


def by_the_library(
    backend: Any, library: Any, prompt: Prompt, max_tokens: int
) -> tuple[str, bool, int]:
    """Text, whether it ended, and its tokens: `generate` of transformers, one prompt at a time."""
    ids, end = backend.renderer.prompt_ids(prompt), backend.renderer.end_token_id
    row = torch.tensor([ids])
    written = library.generate(
        row,
        attention_mask=torch.ones_like(row),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )[0, len(ids) :].tolist()
    text = written[:-1] if written[-1] == end else written
    return backend.renderer.decode(text), written[-1] == end, len(written)


def constrained_by_hand(backend: Any, library: Any, prompt: Prompt, max_tokens: int) -> str:
    """One prompt, the whole sequence anew at every step, llguidance's own mask."""
    ids = backend.renderer.prompt_ids(prompt)
    end, start = backend.renderer.end_token_id, len(ids)
    constraint = Constraint(
        backend.renderer.tokenizer, SCHEMA, end_token_id=end, vocabulary=library.config.vocab_size
    )
    matcher = constraint.start()
    while len(ids) - start < max_tokens and not matcher.is_stopped():
        with torch.inference_mode():
            logits = library(torch.tensor([ids])).logits[0, -1]
        allowed = torch.tensor(list(matcher.compute_logit_bias())) > 0
        token = int(logits.masked_fill(~allowed, float("-inf")).argmax())
        matcher.consume_token(token)
        ids.append(token)
    return str(backend.renderer.decode([i for i in ids[start:] if i != end]))


def prompts_of(texts: list[str], system: str | None = "Name the intent.") -> list[Prompt]:
    return [ask(text, system) for text in texts]


words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=15).map(" ".join)


@settings(max_examples=15)
@given(
    texts=st.lists(words, min_size=1, max_size=6),
    system=st.none() | words,
    max_tokens=st.integers(1, MAX_TOKENS),
)
def test_a_batch_writes_what_the_library_writes_for_each_prompt(
    tiny: Any, library: Any, texts: list[str], system: str | None, max_tokens: int
) -> None:
    prompts = prompts_of(texts, system)
    found = tiny.generate(prompts, Sampling(max_tokens))
    expected = [by_the_library(tiny, library, prompt, max_tokens) for prompt in prompts]
    assert [(g.text, g.complete, g.usage.completion_tokens) for g in found] == expected


def test_rows_that_are_done_leave_the_batch_and_the_others_are_answered_as_before(
    tiny: Any, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    select = BufferedLayer.batch_select_indices
    monkeypatch.setattr(
        BufferedLayer,
        "batch_select_indices",
        lambda self, rows: (kept.append(len(rows)), select(self, rows)),
    )
    prompts = prompts_of(some_texts(16, seed=4))
    found = tiny.generate(prompts, Sampling(MAX_TOKENS))
    assert len(set(kept)) >= 2  # the batch shrank, and shrank again
    assert len({g.usage.completion_tokens for g in found}) >= 5
    expected = [by_the_library(tiny, library, prompt, MAX_TOKENS) for prompt in prompts]
    assert [(g.text, g.complete, g.usage.completion_tokens) for g in found] == expected


def test_more_prompts_than_a_batch_holds_come_back_in_order(tiny: Any, library: Any) -> None:
    prompts = prompts_of(some_texts(BATCH_ROWS + 3, seed=5))
    found = tiny.generate(prompts, Sampling(6))
    assert [g.text for g in found] == [by_the_library(tiny, library, p, 6)[0] for p in prompts]


def test_every_row_but_one_finds_the_shared_beginning_in_the_cache(tiny: Any) -> None:
    prompts = prompts_of(["card lost", "fee", "top up"])
    ids = [tiny.renderer.prompt_ids(prompt) for prompt in prompts]
    shared = next(i for i, column in enumerate(zip(*ids, strict=False)) if len(set(column)) > 1)
    usage = [g.usage for g in tiny.generate(prompts, Sampling(1))]
    assert sorted(u.cached_tokens for u in usage) == [0, shared, shared]
    assert [u.prompt_tokens for u in usage] == [len(row) for row in ids]


def test_equal_prompts_share_all_but_their_last_token(tiny: Any, library: Any) -> None:
    prompt = ask("card lost")
    first, second = tiny.generate([prompt, prompt], Sampling(8))
    size = tiny.count_tokens(prompt)
    assert first.text == second.text == by_the_library(tiny, library, prompt, 8)[0]
    assert sorted((first.usage.cached_tokens, second.usage.cached_tokens)) == [0, size - 1]


def test_a_prompt_that_fills_the_context_is_answered(tiny: Any, library: Any) -> None:
    prompt = ask("card " * 40)
    room = tiny.context_tokens - tiny.count_tokens(prompt)
    [fits] = tiny.generate([prompt], Sampling(room))
    [over] = tiny.generate([prompt], Sampling(room + 1))
    assert fits.text == by_the_library(tiny, library, prompt, room)[0]
    assert over.error is not None
    assert f"{tiny.context_tokens + 1} tokens" in over.error
    assert over.usage == Usage()


@settings(max_examples=5)
@given(texts=st.lists(words, min_size=1, max_size=5))
def test_constrained_text_is_a_plain_loops(tiny: Any, library: Any, texts: list[str]) -> None:
    prompts = prompts_of(texts)
    found = tiny.generate(prompts, Sampling(60, schema=SCHEMA))
    assert [g.text for g in found] == [constrained_by_hand(tiny, library, p, 60) for p in prompts]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_constrained_text_fits_the_schema_in_the_spelling_of_the_targets(
    tiny: Any, temperature: float
) -> None:
    prompts = prompts_of(some_texts(12, seed=6))
    values = []
    for found in tiny.generate(prompts, Sampling(60, schema=SCHEMA, temperature=temperature)):
        value = json.loads(found.text)
        assert found.complete
        assert Draft202012Validator(SCHEMA).is_valid(value)
        assert found.text == json.dumps(value)
        values.append(found.text)
    assert len(set(values)) > 1


def test_a_schema_that_a_grammar_cannot_hold_is_an_error(tiny: Any) -> None:
    schema = {"type": "string", "pattern": "("}
    with pytest.raises(ModelError, match="cannot be used for constrained decoding"):
        tiny.generate([ask("card")], Sampling(8, schema=schema))


def test_a_model_with_more_logits_than_its_tokenizer_has_tokens_can_be_constrained(
    tmp_path: Path,
) -> None:
    backend = open_in_float32(write_tiny_model(tmp_path, spare_vocabulary=70))
    [found] = backend.generate([ask("card")], Sampling(60, schema=SCHEMA))
    library = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert found.text == constrained_by_hand(backend, library, ask("card"), 60)


def test_samples_are_drawn_as_the_softmax_says(tiny: Any, library: Any) -> None:
    prompt, draws, temperature = ask("card lost"), 400, 0.5
    with torch.inference_mode():
        logits = library(torch.tensor([tiny.renderer.prompt_ids(prompt)])).logits[0, -1]
    expected: Counter[str] = Counter()  # several tokens are parts of characters, and look the same
    for token, share in enumerate(torch.softmax(logits / temperature, dim=-1).tolist()):
        expected[tiny.renderer.decode([token])] += share
    found = Counter(
        tiny.generate([prompt], Sampling(1, temperature=temperature, seed=seed))[0].text
        for seed in range(draws)
    )
    assert len(expected) > 50
    for text, share in expected.most_common(5):
        deviation = (share * (1 - share) / draws) ** 0.5
        assert abs(found[text] / draws - share) < 3 * deviation, text


def test_another_seed_gives_another_sample(tiny: Any) -> None:
    texts = {
        tiny.generate([ask("card")], Sampling(10, temperature=1.0, seed=seed))[0].text
        for seed in range(4)
    }
    assert len(texts) == 4


def test_two_adapters_on_one_base_answer_as_if_alone(tiny_folder: Path, tmp_path: Path) -> None:
    maker = open_in_float32(tiny_folder)
    folders = [write_adapter(tmp_path / str(seed), maker, seed=seed) for seed in (1, 2)]
    prompts, sampling = prompts_of(some_texts(5, seed=7)), Sampling(10)

    def texts(backend: Any) -> list[str]:
        return [g.text for g in backend.generate(prompts, sampling)]

    alone = [texts(open_in_float32(tiny_folder).adapted(folder)) for folder in folders]
    base = open_in_float32(tiny_folder)
    plain = texts(base)
    first, second = (base.adapted(folder) for folder in folders)
    assert len({str(plain), str(alone[0]), str(alone[1])}) == 3
    for backend, expected in [
        (first, alone[0]),
        (second, alone[1]),
        (base, plain),
        (second, alone[1]),
        (first, alone[0]),
        (base.adapted(folders[0]), alone[0]),
        (second.adapted(folders[0]), alone[0]),  # beside its base, not on top of another
        (base, plain),
    ]:
        assert texts(backend) == expected

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(texts, [base, first, second] * 3))
    assert found == [plain, *alone] * 3


def test_fingerprints_tell_models_and_adapters_apart(tiny_folder: Path, tmp_path: Path) -> None:
    base = open_in_float32(tiny_folder)
    other = open_in_float32(write_tiny_model(tmp_path / "other", seed=1))
    adapters = [base.adapted(write_adapter(tmp_path / str(s), base, seed=s)) for s in (1, 2)]
    strong = base.adapted(write_adapter(tmp_path / "strong", base, seed=1, alpha=64))
    prints = [backend.fingerprint for backend in (base, other, *adapters, strong)]
    assert len(set(prints)) == 5
    assert open_in_float32(tiny_folder).fingerprint == base.fingerprint
    assert base.adapted(tmp_path / "1").fingerprint == adapters[0].fingerprint


def test_the_adapter_of_another_base_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    other = open_in_float32(write_tiny_model(tmp_path / "other", seed=1))
    folder = write_adapter(tmp_path / "adapter", other, seed=1)
    with pytest.raises(StoreError, match=r"trained on base \w{12}, and this base is \w{12}"):
        open_in_float32(tiny_folder).adapted(folder)


def test_an_answer_that_begins_as_it_must_not_is_given_up_and_the_others_are_not(tiny, monkeypatch):
    monkeypatch.setattr(torch_backend, "GIVEN_UP_TOKENS", 3)
    prompts = [ask(text) for text in some_texts(5, seed=4)]
    whole = tiny.generate(prompts, Sampling(MAX_TOKENS))
    begins = "".join(found.text.lstrip()[:1] for found in whole)
    assert tiny.generate(prompts, Sampling(MAX_TOKENS, begins=begins)) == whole
    given_up = 0
    found = tiny.generate(prompts, Sampling(MAX_TOKENS, begins="\0"))
    for now, before in zip(found, whole, strict=True):
        if before.usage.completion_tokens - before.complete < 3:
            assert now == before
        else:
            given_up += 1
            assert now.usage.completion_tokens == 3
            assert not now.complete
            assert before.text.startswith(now.text)
    assert given_up > 0

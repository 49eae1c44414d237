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
from plain import answers, by_a_loop, by_the_library, spelt
from transformers import AutoModelForCausalLM

from steelyard.core import Usage
from steelyard.errors import ModelError, StoreError
from steelyard.models import Message, Prompt, Sampling, sharing, torch_backend
from steelyard.models.generation import nucleus
from steelyard.models.kv_cache import Prefixes, bytes_per_token, common
from steelyard.models.torch_backend import ROWS_AT_ONCE
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


def prompts_of(texts: list[str], system: str | None = "Name the intent.") -> list[Prompt]:
    return [ask(text, system) for text in texts]


words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=15).map(" ".join)


def shots(system: str | None, kinds: list[str], text: str) -> Prompt:
    """A prompt with examples before its question: those of equal `kinds` begin equally."""
    turns = [(ask(f"{kind} fee", None)[0], Message("assistant", kind)) for kind in kinds]
    head, *asked = ask(text, system)
    return (head, *(turn for pair in turns for turn in pair), *asked)


examples = st.lists(st.sampled_from(["card", "cash lost"]), max_size=3)
crowds = st.lists(st.tuples(examples, words), min_size=1, max_size=7)


@settings(max_examples=40)
@given(
    crowd=crowds,
    system=words,
    room=st.tuples(st.integers(1, MAX_TOKENS), st.sampled_from([1, 2, 3, 64]), st.booleans()),
    limits=st.tuples(
        st.sampled_from([1, 20, sharing.WORTH_TOKENS]),
        st.sampled_from([0, 12, sharing.JOINED_TOKENS]),
    ),
    kept=st.lists(st.tuples(examples, words), max_size=2),
    alike=st.lists(words, max_size=3).map(tuple),
)
def test_every_row_is_the_librarys_whatever_is_beside_it_shared_or_kept(  # noqa: PLR0917
    tiny: Any,
    library: Any,
    crowd: list[tuple[list[str], str]],
    system: str,
    room: tuple[int, int, bool],
    limits: tuple[int, int],
    kept: list[tuple[list[str], str]],
    alike: tuple[str, ...],
) -> None:
    max_tokens, at_once, by_memory = room
    prompts = [shots(system, kinds, text) for kinds, text in crowd]
    backend = spelt(tiny)
    if kept:
        backend.keep([shots(system, kinds, text) for kinds, text in kept])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "WORTH_TOKENS", limits[0])
        patch.setattr(sharing, "JOINED_TOKENS", limits[1])
        if by_memory:  # for one row at least, and for so many if all were as long as the longest
            longest = max(map(backend.count_tokens, prompts)) + max_tokens
            size = at_once * longest * bytes_per_token(backend.loaded.decoder)
            backend.memory_bytes = size
        else:
            patch.setattr(torch_backend, "ROWS_AT_ONCE", at_once)
        found = backend.generate(prompts, Sampling(max_tokens, alike=alike))
    assert answers(found) == [by_the_library(backend, library, p, max_tokens) for p in prompts]


class Watched:
    """A decoder that notes how many rows and tokens each pass has."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.rows: list[int] = []
        self.tokens: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoder, name)

    def __call__(self, ids: Any, positions: Any, step: Any) -> Any:
        self.rows.append(step.packing.rows)
        self.tokens.append(len(ids))
        return self.decoder(ids, positions, step)


def watched(tiny: Any, **changes: Any) -> tuple[Any, Watched]:
    """The same model, and what its decoder does."""
    decoder = Watched(tiny.loaded.decoder)
    prefixes = Prefixes(decoder, 10**9)  # type: ignore[arg-type]
    return spelt(tiny, decoder=decoder, prefixes=prefixes, **changes), decoder


def test_rows_that_are_done_are_replaced_while_others_decode(
    tiny: Any, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "ROWS_AT_ONCE", 8)
    prompts = prompts_of(some_texts(40, seed=4))
    backend, decoder = watched(tiny)
    found = backend.generate(prompts, Sampling(MAX_TOKENS))
    assert answers(found) == [by_the_library(backend, library, p, MAX_TOKENS) for p in prompts]
    assert len({g.usage.completion_tokens for g in found}) >= 5
    assert max(decoder.rows) == 8
    fresh = [
        rows for rows, tokens in zip(decoder.rows, decoder.tokens, strict=True) if tokens > rows
    ]
    assert len(fresh) > 40 // 8 + 1  # rows began in more turns than full batches would take
    assert sum(decoder.rows[1:]) == sum(len(json.loads(g.text)) + g.complete for g in found)
    assert len(decoder.rows) < MAX_TOKENS * 40 / 8  # and in fewer passes than those would take


def test_answers_like_those_that_are_known_take_fewer_passes_and_are_the_same(tiny: Any) -> None:
    prompts = prompts_of(some_texts(6, seed=8))
    plain, alone = watched(tiny)
    found = plain.generate(prompts, Sampling(MAX_TOKENS))
    known = tuple(g.text for g in tiny.generate(prompts, Sampling(MAX_TOKENS)))
    backend, decoder = watched(tiny)
    assert backend.generate(prompts, Sampling(MAX_TOKENS, alike=known)) == found
    assert len(decoder.rows) < len(alone.rows)


def test_more_prompts_than_there_are_rows_come_back_in_order(tiny: Any, library: Any) -> None:
    prompts = prompts_of(some_texts(ROWS_AT_ONCE + 3, seed=5))
    found = tiny.generate(prompts, Sampling(6))
    assert [g.text for g in found] == [by_the_library(tiny, library, p, 6)[0] for p in prompts]


def test_no_more_rows_than_the_memory_holds(tiny: Any) -> None:
    prompts = prompts_of(["card lost"] * 3 + ["top up"] * 3)
    backend, decoder = watched(tiny)
    shared = backend.generate(prompts, Sampling(5))[1].usage.cached_tokens
    own = max(map(backend.count_tokens, prompts)) - shared
    decoder.rows.clear()
    room = (own + 5) * bytes_per_token(tiny.loaded.decoder)
    for memory, rows in [(room // 2, 1), (3 * room - 1, 2), (3 * room, 3)]:
        backend.memory_bytes = memory
        backend.generate(prompts, Sampling(5))
        assert max(decoder.rows) == rows
        decoder.rows.clear()


def test_beginnings_within_beginnings_are_read_once(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "lost " * 12
    prompts = [shots("Name it.", [long] * n, text) for n in (1, 2, 3) for text in WORDS]
    monkeypatch.setattr(sharing, "WORTH_TOKENS", 10**6)
    plain, decoder = watched(tiny)
    expected = plain.generate(prompts, Sampling(4))
    alone = sum(decoder.tokens)
    monkeypatch.setattr(sharing, "WORTH_TOKENS", 10)
    backend, decoder = watched(tiny)
    found = backend.generate(prompts, Sampling(4))
    assert answers(found) == answers(expected)
    assert sum(decoder.tokens) < 0.5 * alone
    for many, few in zip(found, expected, strict=True):
        assert many.usage.cached_tokens >= few.usage.cached_tokens


def test_what_was_kept_is_not_read_again(tiny: Any) -> None:
    prompts = prompts_of(["card lost", "top up"], "Name the intent of the message.")
    backend, decoder = watched(tiny)
    backend.keep(prompts)
    [shared] = decoder.tokens
    ids = [backend.renderer.prompt_ids(prompt) for prompt in prompts]
    assert shared == common(ids)
    decoder.tokens.clear()
    first, second = backend.generate(prompts, Sampling(1))
    assert decoder.tokens == [sum(map(len, ids)) - 2 * shared]
    assert first.usage.cached_tokens == second.usage.cached_tokens == shared
    decoder.tokens.clear()
    [alone] = backend.generate(prompts[:1], Sampling(1))
    assert decoder.tokens == [len(ids[0]) - shared]
    assert alone == first


def test_what_was_kept_for_other_prompts_does_no_harm(tiny: Any, library: Any) -> None:
    backend = spelt(tiny)
    for kept in (prompts_of(["card"]), prompts_of(["fee"], "Else."), [ask("card " * 300)]):
        backend.keep(kept)
        for prompt in (ask("card", "Name the intent."), ask("lost"), ask("card " * 20)):
            expected = by_the_library(backend, library, prompt, 4)
            assert answers(backend.generate([prompt], Sampling(4))) == [expected]


def test_what_is_kept_belongs_to_one_system_and_its_adapter(
    tiny_folder: Path, tmp_path: Path
) -> None:
    base = open_in_float32(tiny_folder)
    adapted = base.adapted(write_adapter(tmp_path, open_in_float32(tiny_folder), seed=1))
    prompts = prompts_of(some_texts(3, seed=2))
    expected = [[g.text for g in b.generate(prompts, Sampling(8))] for b in (base, adapted)]
    assert expected[0] != expected[1]
    for backend in (base, adapted):
        backend.keep(prompts)
    assert len(base.kept) == len(adapted.kept) > 0
    found = [[g.text for g in b.generate(prompts, Sampling(8))] for b in (base, adapted)]
    assert found == expected


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


SCHEMAS: dict[str, dict[str, Any]] = {
    "object": SCHEMA,
    "long names": {
        "type": "object",
        "properties": {
            "the arrival of the card": {"type": ["boolean", "null"]},
            "the balance in cash": {"enum": ["low", "high"]},
        },
        "required": ["the arrival of the card", "the balance in cash"],
        "additionalProperties": False,
    },
    "number": {"type": "integer"},
    "choice": {"enum": ["card arrival", "card linking", "card"]},
    "one value": {"enum": ["card arrival"]},
    "nested": {"type": "array", "items": {"enum": [{"a": 1}, {"b": None}]}, "maxItems": 2},
}


@settings(max_examples=40)
@given(
    texts=st.lists(words, min_size=1, max_size=4),
    schema=st.sampled_from(sorted(SCHEMAS)),
    max_tokens=st.sampled_from([1, 2, 5, 9, 60]),
    at_once=st.sampled_from([1, 2, 64]),
    alike=st.sampled_from([(), ('{"kind": "card", "words": ["up", "fee"], "sure": true}', "7")]),
)
def test_constrained_tokens_are_a_plain_loops(
    tiny: Any,
    library: Any,
    texts: list[str],
    schema: str,
    max_tokens: int,
    at_once: int,
    alike: tuple[str, ...],
) -> None:
    prompts, backend = prompts_of(texts), spelt(tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_backend, "ROWS_AT_ONCE", at_once)
        found = backend.generate(prompts, Sampling(max_tokens, SCHEMAS[schema], alike=alike))
    expected = [by_a_loop(backend, library, p, SCHEMAS[schema], max_tokens) for p in prompts]
    assert [(g.text, g.complete) for g in found] == expected


def test_forced_tokens_are_written_without_asking_the_model(tiny: Any) -> None:
    backend, decoder = watched(tiny)
    [found] = backend.generate([ask("card")], Sampling(60, schema=SCHEMAS["long names"]))
    assert found.complete
    assert len(decoder.rows) < found.usage.completion_tokens / 2


def test_an_answer_without_a_choice_is_whole_where_there_is_room_for_it(tiny: Any) -> None:
    size = tiny.count_target_tokens('"card arrival"') - 1
    for room, whole in [(60, True), (size, True), (size - 1, False), (1, False)]:
        [found] = tiny.generate([ask("card")], Sampling(room, schema=SCHEMAS["one value"]))
        assert found.complete == whole
        assert found.usage.completion_tokens == min(room, size) + whole
        assert '"card arrival"'.startswith(found.text)
        assert (found.text == '"card arrival"') == whole


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


def test_fields_are_written_in_the_order_of_their_schema(tiny: Any) -> None:
    fields = SCHEMA["properties"]
    for names in (["kind", "words", "sure"], ["sure", "kind", "words"]):
        schema = SCHEMA | {"properties": {name: fields[name] for name in names}}
        [found] = tiny.generate([ask("card")], Sampling(60, schema=schema))
        assert list(json.loads(found.text)) == names


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
    assert (found.text, True) == by_a_loop(backend, library, ask("card"), SCHEMA, 60)


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


def test_an_answer_that_begins_as_it_must_not_is_given_up_and_the_others_are_not(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
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


# ---------------------------------------------------------------- chances, texts on their way


def test_the_chance_of_a_token_is_what_reading_it_finds(tiny: Any) -> None:
    prompts = prompts_of(["card lost fee", "top up"])
    for answer, prompt in zip(
        tiny.generate(prompts, Sampling(MAX_TOKENS, chances=3)), prompts, strict=True
    ):
        [read] = tiny.read([(prompt, answer.text)])
        found = [token.log_prob for token in answer.tokens]
        assert found == pytest.approx(read.log_probs, abs=1e-3)
        assert [len(token.top) for token in answer.tokens] == [3] * len(found)


def test_a_token_that_a_schema_forced_was_certain(tiny: Any) -> None:
    [answer] = tiny.generate(prompts_of(["card"]), Sampling(60, SCHEMA, chances=1))
    assert answer.tokens[0].log_prob == 0
    assert len(answer.tokens) == answer.usage.completion_tokens - answer.complete
    assert any(token.log_prob < 0 for token in answer.tokens)


def test_a_plain_text_is_gone_on_with_as_the_tokenizer_begins_texts(tiny: Any) -> None:
    [found] = tiny.generate(["card lost"], Sampling(MAX_TOKENS))
    assert found.usage.prompt_tokens == tiny.count_tokens("card lost") == 2
    assert found.text != tiny.generate(prompts_of(["card lost"]), Sampling(MAX_TOKENS))[0].text
    [one] = tiny.generate(["card lost"], Sampling(1, chances=1))
    [read] = tiny.read([("card lost", one.text)])
    assert read.greedy
    assert read.log_probs == pytest.approx([one.tokens[0].log_prob], abs=1e-3)


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=20),
    st.floats(0.01, 1),
)
def test_a_nucleus_is_the_fewest_likeliest_tokens_with_that_share(
    weights: Any, share: float
) -> None:
    chances = torch.tensor(weights) / sum(weights)
    kept = nucleus(chances, share)
    inside = kept[kept > 0]
    assert torch.equal(kept[kept > 0], chances[kept > 0])
    assert len(inside) == 1 or float(inside.sum() - inside.min()) < share + 1e-6
    assert float(inside.sum()) >= share - 1e-5
    assert not (chances[kept == 0] > inside.min()).any()


def test_sampling_from_a_small_nucleus_is_greedy(tiny: Any) -> None:
    prompts = prompts_of(["card lost fee", "top up"])
    greedy = tiny.generate(prompts, Sampling(MAX_TOKENS))
    narrow = tiny.generate(prompts, Sampling(MAX_TOKENS, temperature=1.0, seed=1, top_p=1e-6))
    assert [one.text for one in narrow] == [one.text for one in greedy]

"""A language model as a System: reading answers, cutting inputs, calibrating labels."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example, recipe
from steelyard.core import (
    Answer,
    Context,
    Decoding,
    Output,
    Passage,
    Query,
    Source,
    Usage,
)
from steelyard.models import Generation, LabelChoice, LabelScores, Prompt, Sampling
from steelyard.models.fake import FakeBackend
from steelyard.recipes.answering import CONTENT_FREE, LanguageModelSystem, answer_limit, parse
from steelyard.recipes.prompt import Frame, Part

OBJECT = Output("json", schema={"type": "object", "required": ["a"]})
LABELS = Output("label", ("a", "b"))


def nothing(queries: Sequence[Query]) -> list[list[Part]]:
    return [[] for _ in queries]


def queries(*inputs: str) -> list[Query]:
    return [Query(text) for text in inputs]


@dataclass
class Stub:
    """A backend that says what it is told to, and keeps what it was asked."""

    written: tuple[Generation, ...] = ()
    scores: dict[str, LabelScores] = field(default_factory=dict)
    context_tokens: int = 100
    source: str = "stub"
    fingerprint: str = "stub"
    asked: list[Prompt] = field(default_factory=list)
    kept: list[list[Prompt]] = field(default_factory=list)
    priors: list[Sequence[float] | None] = field(default_factory=list)
    sampled: list[Sampling] = field(default_factory=list)

    def count_tokens(self, prompt: Prompt) -> int:
        return sum(len(message.content) for message in prompt)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        self.asked += prompts
        self.sampled.append(sampling)
        return list(self.written[: len(prompts)])

    def count_target_tokens(self, text: str) -> int:
        return len(text.split())

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        self.asked += prompts
        return [self.scores[prompt[-1].content] for prompt in prompts]

    def choose_labels(
        self,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        prior: Sequence[float] | None = None,
    ) -> list[LabelChoice]:
        self.priors.append(prior)
        return [self._choose(scores, prior) for scores in self.score_labels(prompts, labels)]

    def _choose(self, scores: LabelScores, prior: Sequence[float] | None) -> LabelChoice:
        if scores.error is not None:
            return LabelChoice(error=scores.error)
        moved = np.subtract(scores.log_probs, prior or 0.0)
        label = int(moved.argmax())
        return LabelChoice(label, scores.log_probs[label], scores.usage)

    def keep(self, prompts: Sequence[Prompt]) -> None:
        self.kept.append(list(prompts))


def system(backend: Any, output: Output, kind: Any = "free", **changes: Any) -> LanguageModelSystem:
    fields: dict[str, Any] = {
        "recipe": recipe("r", decoding=Decoding(kind)),
        "frame": Frame("Do.", output),
        "backend": backend,
        "find": nothing,
        "max_tokens": 10,
    }
    return LanguageModelSystem(**fields | changes)


# ---------------------------------------------------------------- reading an answer


@pytest.mark.parametrize(
    ("text", "output", "expected"),
    [
        ("a", LABELS, ("a", True)),
        ("A", LABELS, ("A", False)),
        ("a b", LABELS, ("a b", False)),
        ("hello", Output("text"), ("hello", True)),
        ("", Output("text"), ("", False)),
        ('{"a": 1}', OBJECT, ({"a": 1}, True)),
        ('{"b": 1}', OBJECT, ({"b": 1}, False)),
        ("[1]", OBJECT, ([1], False)),
        ("null", OBJECT, (None, False)),
        ('{"a": 1', OBJECT, (None, False)),
        ('Sure: {"a": 1}', OBJECT, (None, False)),
        ("", OBJECT, (None, False)),
        ('```json\n{"a": 1}\n```', OBJECT, ({"a": 1}, True)),
        ('```\n{"a": 1}\n```', OBJECT, ({"a": 1}, True)),
        ('```{"a": 1}```', OBJECT, (None, False)),
        ("```\n```", OBJECT, (None, False)),
        ('{"a": NaN}', OBJECT, (None, False)),
        ('{"a": -Infinity}', OBJECT, (None, False)),
        ('{"a": 1e999}', OBJECT, (None, False)),
        ('{"a": "\\ud800"}', OBJECT, (None, False)),
        ('{"a": "\\ud83d\\ude00"}', OBJECT, ({"a": "😀"}, True)),
        ('{"a": ' + "[" * 500 + "]" * 500 + "}", OBJECT, (None, False)),
        ("[" * 100_000, OBJECT, (None, False)),
        ('{"a": ' + "9" * 5000 + "}", OBJECT, (None, False)),
    ],
)
def test_parse(text, output, expected):
    assert parse(text, output) == expected


def test_no_schema_takes_any_json():
    assert parse("[1, null]", Output("json")) == ([1, None], True)


def test_an_answer_is_validated_by_the_draft_that_its_schema_names():
    pair = {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"a": pair},
    }
    output = Output("json", schema=schema)
    assert parse('{"a": ["x", 1]}', output) == ({"a": ["x", 1]}, True)
    assert parse('{"a": [1, "x"]}', output) == ({"a": [1, "x"]}, False)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
        max_leaves=12,
    )
)  # fmt: skip
def test_any_json_value_is_read_back(value):
    assert parse(json.dumps(value), Output("json")) == (value, True)


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_is_read_into_something_that_can_be_kept(text):
    for output in (OBJECT, LABELS, Output("json")):
        value, valid = parse(text, output)
        assert isinstance(valid, bool)
        if output.type == "json":
            json.dumps(value, allow_nan=False).encode()


# ---------------------------------------------------------------- generating


def test_a_generation_is_stripped_parsed_and_keeps_its_usage():
    backend = Stub((Generation(' {"a": 1}\n', usage=Usage(7, 3, 2)), Generation("none")))
    answers = system(backend, OBJECT).answer_many(queries("x", "y"))
    assert answers == [
        Answer({"a": 1}, '{"a": 1}', True, Usage(7, 3, 2)),
        Answer(None, "none", False),
    ]
    assert backend.sampled == [Sampling(10, begins="{`")]
    assert [prompt[-1].content for prompt in backend.asked] == ["x", "y"]


def test_only_constrained_decoding_gives_the_backend_the_schema():
    for kind, schema in (("free", None), ("constrained", OBJECT.schema)):
        backend = Stub((Generation("{}"),))
        answer = system(backend, OBJECT, kind).answer("x")
        assert backend.sampled == [Sampling(10, schema, begins="{`")]
        assert not answer.valid  # validated whichever way it was decoded


def test_an_error_of_the_backend_is_no_answer():
    backend = Stub((Generation(error="too long"), Generation('{"a": 1}')))
    failed, fine = system(backend, OBJECT).answer_many(queries("x", "y"))
    assert (failed.error, failed.value, failed.text, failed.valid) == ("too long", None, "", False)
    assert fine.error is None


def test_the_shots_of_each_input_stand_in_its_own_prompt():
    def find(queries: Sequence[Query]) -> list[list[Part]]:
        return [[Part("example", example("s", f"like {query.input}"))] for query in queries]

    backend = Stub((Generation("a"), Generation("b")))
    system(backend, Output("text"), find=find).answer_many(queries("x", "y"))
    contents = [[message.content for message in prompt] for prompt in backend.asked]
    assert contents == [["Do.", "like x", "yes", "x"], ["Do.", "like y", "yes", "y"]]


# ---------------------------------------------------------------- inputs that do not fit


def long_input(words: int) -> str:
    return " ".join(f"w{number}" for number in range(words))


def fake_system(*, truncate: bool, context_tokens: int = 30) -> LanguageModelSystem:
    backend = FakeBackend(context_tokens=context_tokens)
    return system(backend, Output("text"), truncate=truncate)


def test_an_input_that_does_not_fit_is_an_error_of_its_own():
    failed, fine = fake_system(truncate=False).answer_many(queries(long_input(50), "short"))
    assert "61 tokens" in str(failed.error)  # 50 words, the instruction, 10 for the answer
    assert "holds 30" in str(failed.error)
    assert 'too_long = "truncate"' in str(failed.error)
    assert (fine.error, fine.text) == (None, "short")


def test_truncating_keeps_the_longest_beginning_that_leaves_room_for_the_answer():
    cutting = fake_system(truncate=True)
    text = long_input(50)
    [prompt] = cutting.prompts(queries(text))
    kept = prompt[-1].content
    assert text.startswith(kept)
    assert cutting.backend.count_tokens(prompt) == 20  # 30 of context, 10 for the answer
    one_more = (*prompt[:-1], replace(prompt[-1], content=text[: len(kept) + 2]))
    assert cutting.backend.count_tokens(one_more) > 20
    assert cutting.answer(text).error is None


def test_truncating_leaves_alone_what_fits():
    text = long_input(19)
    assert fake_system(truncate=True).prompts(queries(text))[0][-1].content == text


def test_an_instruction_that_leaves_no_room_is_an_error_also_when_truncating():
    answer = fake_system(truncate=True, context_tokens=10).answer("a b c")
    assert answer.error is not None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(12, 40))
def test_whatever_the_length_truncating_answers(words, context_tokens):
    cutting = fake_system(truncate=True, context_tokens=context_tokens)
    [prompt] = cutting.prompts(queries(long_input(words)))
    assert cutting.backend.count_tokens(prompt) <= context_tokens - 10


# ---------------------------------------------------------------- budgets and sources


def shown(id: str, text: str, rank: int = 0) -> Part:
    return Part("passage", Passage(id, 0, len(text), text), rank)


def looking(*parts: Part, truncate: bool = False, **context: Any) -> LanguageModelSystem:
    """A system of the fake, whose tokens are words, that finds these parts for every query."""
    return system(
        FakeBackend(context_tokens=60),
        Output("text"),
        recipe=recipe("r", context=Context(passages=2, **context)),
        frame=Frame("Do.", Output("text"), passages=True),
        find=lambda queries: [list(parts) for _ in queries],
        truncate=truncate,
    )


def test_an_answer_brings_the_passages_that_it_was_shown_as_they_were_shown():
    one, two = shown("a", "red kettle", 1), shown("b", "blue cup")
    answer = looking(one, two).answer("Where is the kettle?")
    assert answer.text == "red kettle"
    assert answer.sources == (Source("a:0-10", "a", "red kettle"), Source("b:0-8", "b", "blue cup"))
    assert answer.left_out == ()


def test_what_is_left_out_is_told_and_what_is_shortened_is_shown_so():
    long = "One kettle. " + "Rain fell and fell. " * 20
    answer = looking(shown("a", long, 1), shown("b", "blue kettle")).answer("A kettle?")
    assert answer.sources is not None
    assert [(s.document, s.text) for s in answer.sources] == [
        ("a", "One kettle."),
        ("b", "blue kettle"),
    ]
    assert answer.left_out == (f"sentences of passage a:0-{len(long)}",)


def test_a_recipe_that_finds_nothing_has_no_sources_and_one_without_passages_none_at_all():
    assert looking().answer("x").sources == ()
    plain = system(FakeBackend(), Output("text"))
    assert plain.answer("x").sources is None


def test_a_budget_of_its_own_bounds_the_prompt_below_the_models_context():
    parts = [shown(f"p{n}", "w " * 10, n) for n in range(4)]
    assert looking(*parts).budget == 50
    tight = looking(*parts, budget_tokens=24)
    assert tight.budget == 24
    [prompt] = tight.prompts(queries("why"))
    assert tight.backend.count_tokens(prompt) <= 24
    assert len(tight.answer("why").sources or ()) == 1
    assert looking(*parts, budget_tokens=999).budget == 50


def test_an_input_over_the_budget_of_its_own_is_an_error_or_cut():
    failed, fine = looking(budget_tokens=12).answer_many(queries(long_input(20), "short"))
    assert failed.error is not None
    assert "have 26 tokens and the budget is 12" in failed.error
    assert not failed.valid
    assert fine.error is None
    cutting = looking(budget_tokens=12, truncate=True)
    [prompt] = cutting.prompts(queries(long_input(20)))
    assert cutting.backend.count_tokens(prompt) == 12
    assert cutting.answer(long_input(20)).error is None


def test_marks_are_in_the_text_of_an_answer_and_not_in_its_value():
    backend = Stub((Generation("In 1888 [1]."), Generation("a[0] = [1]")))
    citing = Frame("Do.", Output("text"), passages=True, cite=True)
    [answer] = system(backend, Output("text"), frame=citing).answer_many(queries("x"))
    assert (answer.text, answer.value) == ("In 1888 [1].", "In 1888.")
    backend = Stub((Generation("In 1888 [1]."),))
    assert system(backend, Output("text")).answer("x").value == "In 1888 [1]."


# ---------------------------------------------------------------- labels


def log(*shares: float) -> LabelScores:
    return LabelScores(tuple(math.log(share) for share in shares), Usage(5, 0, 2))


def test_the_likeliest_label_is_the_answer_and_the_first_of_equals():
    backend = Stub(scores={"x": log(0.4, 0.6), "y": log(0.5, 0.5)})
    answers = system(backend, LABELS, "labels").answer_many(queries("x", "y"))
    assert answers == [
        Answer("b", "b", usage=Usage(5, 0, 2)),
        Answer("a", "a", usage=Usage(5, 0, 2)),
    ]


def test_labels_are_chosen_in_one_call_with_the_prior_of_calibration_or_none():
    backend = Stub(
        scores={CONTENT_FREE.input: log(0.8, 0.2), "x": log(0.7, 0.3), "y": log(0.9, 0.1)}
    )
    plain = system(backend, LABELS, "labels")
    plain.answer_many(queries("x", "y"))
    assert backend.priors == [None]
    calibrated = plain.calibrated()
    assert backend.priors == [None]  # the empty input is scored, every label of it
    calibrated.answer_many(queries("x", "y"))
    assert backend.priors == [None, log(0.8, 0.2).log_probs]
    contents = [prompt[-1].content for prompt in backend.asked]
    assert contents == ["x", "y", CONTENT_FREE.input, "x", "y"]


def test_the_choice_of_the_backend_is_the_answer_whatever_its_probability():
    class Chooser(Stub):
        def choose_labels(
            self, prompts: Sequence[Prompt], labels: Sequence[str], prior: Any = None
        ) -> list[LabelChoice]:
            assert tuple(labels) == LABELS.labels
            return [LabelChoice(1, -9.0, Usage(4, 2, 1)), LabelChoice(error="no"), LabelChoice(0)]

    answers = system(Chooser(), LABELS, "labels").answer_many(queries("x", "y", "z"))
    assert answers == [
        Answer("b", "b", usage=Usage(4, 2, 1)),
        Answer(valid=False, error="no"),
        Answer("a", "a"),
    ]


def test_calibration_divides_by_the_scores_of_an_empty_input():
    # Empty: a .8, b .2. On x: .7/.8 = .875 against .3/.2 = 1.5. On y: .9/.8 against .1/.2.
    backend = Stub(
        scores={CONTENT_FREE.input: log(0.8, 0.2), "x": log(0.7, 0.3), "y": log(0.9, 0.1)}
    )
    plain = system(backend, LABELS, "labels")
    calibrated = plain.calibrated()
    assert [answer.value for answer in plain.answer_many(queries("x", "y"))] == ["a", "a"]
    assert [answer.value for answer in calibrated.answer_many(queries("x", "y"))] == ["b", "a"]
    assert calibrated.prior == pytest.approx((math.log(0.8), math.log(0.2)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=2, max_size=6))
def test_calibration_agrees_with_normalised_ratios(pairs):
    inputs, empty = np.array(pairs).T
    ratios = np.exp(inputs - empty)
    ratios /= ratios.sum()
    output = Output("label", tuple(f"l{n}" for n in range(len(pairs))))
    scores = {"x": LabelScores(tuple(inputs)), CONTENT_FREE.input: LabelScores(tuple(empty))}
    answer = system(Stub(scores=scores), output, "labels").calibrated().answer("x")
    chosen = output.labels.index(answer.value)
    assert ratios[chosen] == pytest.approx(ratios.max())


def test_an_empty_input_that_cannot_be_scored_leaves_the_labels_as_they_are():
    backend = Stub(scores={CONTENT_FREE.input: LabelScores(error="too long"), "x": log(0.7, 0.3)})
    calibrated = system(backend, LABELS, "labels").calibrated()
    assert calibrated.prior is None
    assert calibrated.answer("x").value == "a"


def test_a_prompt_that_cannot_be_scored_is_an_error():
    backend = Stub(scores={"x": LabelScores(error="too long")})
    answer = system(backend, LABELS, "labels").answer("x")
    assert (answer.error, answer.valid, answer.value) == ("too long", False, None)


# ---------------------------------------------------------------- what all prompts begin with


def test_preparing_shows_the_backend_prompts_that_differ_in_their_input_alone():
    backend = Stub()
    shot = Part("example", example("s", "like this"))
    system(backend, Output("text"), find=lambda _: [[shot], [shot]]).prepare()
    [[one, other]] = backend.kept
    assert one[:-1] == other[:-1]
    assert [message.content for message in one[:-1]] == ["Do.", "like this", "yes"]
    assert one[-1].role == other[-1].role == "user"
    assert one[-1].content[0] != other[-1].content[0]
    assert backend.asked == []


def test_preparing_keeps_the_shots_out_where_each_input_has_its_own():
    def find(queries: Sequence[Query]) -> list[list[Part]]:
        return [[Part("example", example("s", f"like {query.input}"))] for query in queries]

    backend = Stub()
    system(backend, Output("text"), find=find).prepare()
    [[one, other]] = backend.kept
    assert one[0] == other[0]
    assert one[1] != other[1]


# ---------------------------------------------------------------- how long an answer may be


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=9))
def test_an_answer_may_be_longer_than_the_longest_target_by_a_quarter_and_some(tokens):
    limit = answer_limit(tokens, 10**6)
    assert limit == answer_limit([max(tokens)], 10**6)
    assert 1.25 * max(tokens) + 8 <= limit < 1.25 * max(tokens) + 9
    assert answer_limit(tokens, 100) == min(limit, 50)

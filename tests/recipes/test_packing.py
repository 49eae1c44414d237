"""The packer: never over the budget, and nothing left out that would have fitted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example
from steelyard.core import Output, Passage
from steelyard.models import Prompt
from steelyard.models.fake import FakeBackend
from steelyard.models.render import Renderer
from steelyard.recipes.packing import Packed, Packer
from steelyard.recipes.prompt import Frame, Part, build_prompt
from tiny import write_tokenizer

FRAME = Frame("Answer.", Output("text"), passages=True, cite=True)
WORDS = ("mill", "barn", "Ott", "built", "burnt", "1888", "red", "cat", "kettle", "the", "a", "of")


def passage(id: str, text: str, rank: int = 0, kind: Any = "passage", title: str = "") -> Part:
    return Part(kind, Passage(id, 0, len(text), text, title=title), rank)


def shot(id: str, text: str, rank: int = 0, kind: Any = "example") -> Part:
    return Part(kind, example(id, text, "yes"), rank)


def pack(parts: Sequence[Part], budget: int, text: str = "when was the mill built") -> Packed:
    return Packer(FRAME, FakeBackend().count_tokens, budget).pack(text, parts)


def names(packed: Packed) -> list[str]:
    return [part.name for part in packed.parts]


# ---------------------------------------------------------------- what is in


def test_what_fits_is_shown_whole_and_counted_once():
    counts = []

    def count(prompt: Prompt) -> int:
        counts.append(prompt)
        return FakeBackend().count_tokens(prompt)

    parts = [shot("e1", "a b"), passage("d1", "c d")]
    packed = Packer(FRAME, count, 1000).pack("x", parts)
    assert packed.parts == tuple(parts)
    assert packed.left_out == ()
    assert packed.prompt == build_prompt(FRAME, parts, "x")
    assert len(counts) == 1


def test_without_parts_nothing_is_counted():
    def count(_: Prompt) -> int:
        raise AssertionError("counted")

    assert Packer(FRAME, count, 0).pack("x", []).prompt == build_prompt(FRAME, [], "x")


def test_the_input_is_in_even_where_it_alone_is_over_and_then_nothing_else_is():
    packed = pack([passage("d1", "x"), shot("e1", "y")], budget=3)
    assert packed.prompt == build_prompt(FRAME, [], "when was the mill built")
    assert packed.parts == ()
    assert packed.left_out == ("passage d1:0-1", "example e1")


def test_the_first_of_each_kind_comes_before_the_second_of_any():
    bare = FakeBackend().count_tokens(build_prompt(FRAME, [], "q"))
    parts = [
        shot("e1", "w " * 9, 1),
        shot("e0", "w " * 9, 0),
        passage("d1", "w " * 9, 1),
        passage("d0", "w " * 9, 0),
    ]
    two = pack(parts, bare + 1 + 10 + 10, text="q")  # a header, a passage, an example
    assert names(two) == ["example e0", "passage d0:0-18"]
    assert two.left_out == ("passage d1:0-18", "example e1")
    three = pack(parts, bare + 1 + 10 + 10 + 10, text="q")
    assert names(three) == ["example e0", "passage d1:0-18", "passage d0:0-18"]


def test_a_small_part_still_goes_in_after_a_large_one_that_did_not():
    bare = FakeBackend().count_tokens(build_prompt(FRAME, [], "q"))
    parts = [shot("large", "w " * 50, 0), shot("small", "w", 1)]
    packed = pack(parts, bare + 10, text="q")
    assert names(packed) == ["example small"]
    assert packed.left_out == ("example large",)


# ---------------------------------------------------------------- shortening


LONG = "Rain fell. The mill was built in 1888. Nobody came. Ott built it. It is old."


def test_a_passage_that_does_not_fit_keeps_its_sentences_nearest_to_the_input():
    bare = FakeBackend().count_tokens(build_prompt(FRAME, [], "when was the mill built"))
    packed = pack([passage("d", LONG)], bare + 12)
    [part] = packed.parts
    assert isinstance(part.content, Passage)
    assert part.content.text == "The mill was built in 1888. Ott built it."
    assert packed.left_out == (f"sentences of passage d:0-{len(LONG)}",)
    tighter = pack([passage("d", LONG)], bare + 8)
    assert [p.content.text for p in tighter.parts] == ["The mill was built in 1888."]


def test_a_passage_without_a_sentence_that_fits_and_says_something_is_left_out():
    bare = FakeBackend().count_tokens(build_prompt(FRAME, [], "q"))
    assert pack([passage("d", LONG)], bare + 10, text="zebra").parts == ()
    assert pack([passage("d", "mill " * 40)], bare + 10).parts == ()
    assert pack([], bare).left_out == ()


def test_examples_and_turns_are_whole_or_not_there():
    bare = FakeBackend().count_tokens(build_prompt(FRAME, [], "q"))
    for kind in ("example", "turn"):
        assert pack([shot("e", LONG, kind=kind)], bare + 10, text="q").parts == ()


# ---------------------------------------------------------------- the property


@st.composite
def some_parts(draw: st.DrawFn) -> list[Part]:
    chance = random.Random(draw(st.integers(0, 10_000)))
    parts = []
    ranks = {"example": 0, "turn": 0, "record": 0, "passage": 0}
    for number in range(draw(st.integers(0, 9))):
        kind: Any = chance.choice(list(ranks))
        text = ". ".join(
            " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))
            for _ in range(chance.randint(1, 5))
        )
        make = shot if kind in ("example", "turn") else passage
        parts.append(make(f"{kind}{number}", text, ranks[kind], kind))
        ranks[kind] += 1
    return parts


def check(count: Any, parts: Sequence[Part], spare: int) -> None:
    """Within the budget, everything accounted for, and no part that is out would have fitted."""
    text = "when was the mill built"
    least = count(build_prompt(FRAME, [], text))
    budget = least + spare
    packed = Packer(FRAME, count, budget).pack(text, parts)
    assert packed.prompt == build_prompt(FRAME, packed.parts, text)
    assert least <= count(packed.prompt) <= budget

    shown = {part.name: part for part in packed.parts}
    places = [next(i for i, p in enumerate(parts) if p.name == name) for name in shown]
    assert places == sorted(places)
    for place, part in enumerate(parts):
        if shown.get(part.name) == part:
            continue
        gone, cut = part.name, f"sentences of {part.name}"
        assert (cut if part.name in shown else gone) in packed.left_out
        others = {i: shown[p.name] for i, p in enumerate(parts) if p.name in shown}
        others[place] = part
        with_it = [others[i] for i in sorted(others)]
        assert count(build_prompt(FRAME, with_it, text)) > budget
    assert len(packed.left_out) == sum(shown.get(part.name) != part for part in parts)


@settings(max_examples=150, deadline=None)
@given(some_parts(), st.integers(0, 160))
def test_any_parts_fill_any_budget_in_words(parts, spare):
    check(FakeBackend().count_tokens, parts, spare)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The count of a byte-pair tokenizer with a chat template, whose tokens join across parts."""
    renderer = Renderer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))
    return lambda prompt: len(renderer.prompt_ids(prompt))


@settings(max_examples=60, deadline=None)
@given(parts=some_parts(), spare=st.integers(0, 900))
def test_any_parts_fill_any_budget_in_tokens(tokens, parts, spare):
    check(tokens, parts, spare)


def test_a_part_is_estimated_once_however_many_prompts_hold_it():
    counts = []

    def count(prompt: Prompt) -> int:
        counts.append(prompt)
        return FakeBackend().count_tokens(prompt)

    parts = [shot(f"e{n}", "w " * 30, n) for n in range(20)]
    packer = Packer(FRAME, count, 200)
    packer.pack("q", parts)
    first = len(counts)
    packer.pack("another question", parts)
    again = len(counts) - first
    assert first - again == 2 * len(parts)  # with one of the kind and with two
    assert again <= len(parts) + 3  # the whole, the bare one, the end, and what is near the edge


def test_a_wrong_estimate_is_corrected_by_counting(monkeypatch):
    parts = [shot(f"e{n}", "w " * 30, n) for n in range(8)]
    whole = pack(parts, 150, text="q")
    monkeypatch.setattr(Packer, "estimate", lambda *_: 0)
    assert pack(parts, 150, text="q") == whole

"""Long answers: outline, a retrieval and a generation for each section, assembly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example, recipe
from steelyard.core import Answer, Context, Decoding, Output, Passage, Query, Section, Source, Usage
from steelyard.knowledge.text import cited
from steelyard.models import Generation, Prompt, Sampling
from steelyard.models.fake import FakeBackend
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.prompt import Frame, Part
from steelyard.recipes.sections import (
    MOST_SECTIONS,
    OUTLINE,
    SectionedSystem,
    assembled,
    found_titles,
    renumbered,
    titles_of,
)

UNKNOWN = "I do not know."
SECTIONED = recipe("rag+sections", context=Context(passages=2), decoding=Decoding("sections"))


class Author(FakeBackend):
    """Outlines as it is told, and writes as the fake does; remembers what it was asked."""

    def __init__(self, *outlines: str, **more: Any) -> None:
        super().__init__(**more)
        pages = list(outlines or ('{"sections": ["Causes", "Care"]}',))
        self.__dict__.update(pages=pages, asked=[])

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        known: Any = self
        known.asked += [(prompt, sampling) for prompt in prompts]
        written = super().generate(prompts, sampling)
        if sampling.schema is None:
            return [Generation(w.text, error=w.error, usage=Usage(7, 1, 3)) for w in written]
        return [
            w if w.error else Generation(known.pages.pop(0), usage=Usage(10, 4, 2)) for w in written
        ]


def system(backend: Any, *, wide: Any = None, **changes: Any) -> SectionedSystem:
    def find(queries: Sequence[Query]) -> list[list[Part]]:
        found.append([query.input for query in queries])
        return [[_passage(query.input.rpartition("Section: ")[2])] for query in queries]

    found: list[list[str]] = changes.pop("found", [])
    fields: dict[str, Any] = {
        "recipe": SECTIONED,
        "frame": Frame("Tell all.", Output("text"), passages=True),
        "backend": backend,
        "find": find,
        "max_tokens": 400,
    }
    whole = LanguageModelSystem(**fields | changes)
    return SectionedSystem.of(whole, changes.get("find", find) if wide is None else wide)


def _passage(about: str) -> Part:
    text = f"Of {about} much is known."
    return Part("passage", Passage(about, 0, len(text), text))


# ---------------------------------------------------------------- outlines


@pytest.mark.parametrize(
    ("outline", "titles"),
    [
        ('{"sections": ["A", "B"]}', ["A", "B"]),
        ('{"sections": ["1. A:", "2) B", "- a", "# B"]}', ["A", "B"]),
        ('{"sections": ["A \\"q\\"", "\\ud800", "B', ['A "q"']),
        ('{"sections": []}', [""]),
        ('{"sections": [" ", "7."]}', [""]),
        (
            '{"sections": ["21-hydroxylase deficiency", "2.5 mg"]}',
            ["21-hydroxylase deficiency", "2.5 mg"],
        ),
        ("", [""]),
        ("no JSON at all", [""]),
        (json.dumps({"sections": [f"T{n}x" for n in range(20)]}), [f"T{n}x" for n in range(6)]),
    ],
)
def test_an_outline_is_its_different_titles(outline: str, titles: list[str]) -> None:
    assert titles_of(outline) == titles
    assert len(titles_of(outline)) <= MOST_SECTIONS


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_is_an_outline_of_at_least_one_section(text: str) -> None:
    assert 1 <= len(titles_of(text)) <= MOST_SECTIONS


def titled(document: str, start: int, title: str = "", *headings: str) -> Passage:
    return Passage(document, start, start + 1, "x", title, headings)


def test_an_outline_is_what_the_documents_have_on_the_question_in_their_order():
    found = [titled("b", 9, "B", "Uses"), titled("a", 7, "A"), titled("b", 2, "B", "B", "Causes")]
    more = [titled("b", 5, "B", "causes"), titled("c", 0)]
    ranked = [Part("passage", p, rank) for rank, p in enumerate([*found, *more])]
    assert found_titles(ranked[::-1]) == ["Causes", "Uses", "A"]
    assert found_titles([Part("example", example("e", "x"))]) == []
    many = [Part("passage", titled(f"d{n}", 0, f"T{n}"), n) for n in range(12)]
    assert found_titles(many) == [f"T{n}" for n in range(MOST_SECTIONS)]


def test_a_found_outline_is_not_generated():
    parts = [Part("passage", titled(f"d{n}", 0, title), n) for n, title in enumerate("AB")]
    backend: Any = Author()
    answer = system(backend, wide=lambda queries: [parts for _ in queries]).answer("asthma?")
    assert [s.title for s in answer.sections] == ["A", "B"]
    assert [sampling.schema for _, sampling in backend.asked] == [None, None]
    assert answer.usage == Usage(14, 2, 6)


# ---------------------------------------------------------------- the whole way


def test_each_section_has_a_search_of_its_own_and_all_are_asked_together():
    backend, found = Author(), []
    [answer] = system(backend, found=found).answer_many([Query("asthma?")])
    assert found[-1] == ["asthma?\nSection: Causes", "asthma?\nSection: Care"]
    assert {text for asked in found[:-1] for text in asked} == {"asthma?"}
    assert answer.sections == (
        Section("Causes", "Of Causes much is known.", (1,)),
        Section("Care", "Of Care much is known.", (2,)),
    )
    assert answer.text == "Causes\nOf Causes much is known.\n\nCare\nOf Care much is known."
    assert answer.value == answer.text
    assert answer.valid
    assert answer.sources is not None
    assert [s.document for s in answer.sources] == ["Causes", "Care"]
    assert answer.usage == Usage(10 + 2 * 7, 4 + 2 * 1, 2 + 2 * 3)


def test_the_outline_is_a_list_and_a_section_may_be_a_quarter_of_an_answer():
    backend: Any = Author()
    system(backend).answer("asthma?")
    (first, outlining), (second, writing), _ = backend.asked
    assert outlining.schema == OUTLINE.schema
    assert first[0].content.startswith("Tell all.\nDo not answer yet")
    assert (writing.schema, writing.max_tokens) == (None, 100)
    assert second[0].content.startswith("Tell all.\nWrite the named section")
    assert second[-1].content.endswith("Question: asthma?\nSection: Causes")
    small = system(FakeBackend(context_tokens=120))
    assert (small.outline.max_tokens, small.section.max_tokens) == (30, 30)


def test_answers_come_in_the_order_of_the_questions_whatever_their_outlines():
    outlines = ('{"sections": ["A", "B", "C"]}', "nothing", '{"sections": ["D"]}')
    answers = system(Author(*outlines)).answer_many([Query(c) for c in "xyz"])
    assert [[s.title for s in a.sections] for a in answers] == [["A", "B", "C"], [""], ["D"]]
    assert answers[1].text == "Of y much is known."  # no outline: the question itself


def test_a_question_too_long_is_an_error_or_cut_before_its_section():
    long = "word " * 300
    failed = system(Author(context_tokens=200)).answer(long)
    assert (failed.valid, failed.text) == (False, "")
    assert failed.error is not None
    assert "the prompt has" in failed.error
    backend: Any = Author(context_tokens=200)
    cut = system(backend, truncate=True).answer(long)
    assert cut.error is None
    ends = [p[-1].content.rpartition("word")[2].lstrip(" ") for p, _ in backend.asked[1:]]
    assert ends == ["\nSection: Causes", "\nSection: Care"]


def test_marks_are_in_the_text_and_not_in_the_value():
    frame = Frame("Tell all.", Output("text"), passages=True, cite=True)
    author = Author('{"sections": ["Complications", "Countermeasures"]}')
    answer = system(author, frame=frame).answer("asthma?")
    assert [s.text for s in answer.sections] == [
        "Of Complications much is known. [1]",
        "Of Countermeasures much is known. [2]",
    ]
    assert answer.value == answer.text.replace(" [1]", "").replace(" [2]", "") != answer.text


# ---------------------------------------------------------------- assembly


def said(text: str, *documents: str) -> Answer:
    sources = tuple(Source(f"{d}:0-9", d, f"text of {d}") for d in documents)
    return Answer(text, text, sources=sources, left_out=("passage z:0-9",))


def test_a_source_of_two_sections_is_one_source_with_one_number():
    answer = assembled(["A", "B"], [said("One [2].", "x", "y"), said("Two [1, 2].", "y", "z")])
    assert [s.document for s in answer.sources or ()] == ["x", "y", "z"]
    assert [(s.text, s.sources) for s in answer.sections] == [
        ("One [2].", (1, 2)),
        ("Two [2, 3].", (2, 3)),
    ]
    assert answer.left_out == ("passage z:0-9",)


def test_nothing_is_said_twice_and_an_empty_section_is_none():
    answer = assembled(
        ["A", "B", "C"],
        [said("It is old. It is red."), said("it is OLD! It is new."), said("It is red.")],
    )
    assert [(s.title, s.text) for s in answer.sections] == [
        ("A", "It is old. It is red."),
        ("B", "It is new."),
    ]


def test_sections_that_do_not_know_are_left_out_unless_all_do_not():
    some = assembled(["A", "B"], [said("I do not know", "x"), said("Yes.", "y")], abstain=UNKNOWN)
    assert some.text == "B\nYes."
    assert [s.document for s in some.sources or ()] == ["y"]
    none = assembled(["A", "B"], [said(UNKNOWN, "x"), said(UNKNOWN, "y")], abstain=UNKNOWN)
    assert (none.text, none.sections, none.sources) == (UNKNOWN, (), ())


def test_an_answer_of_nothing_has_no_text():
    assert assembled(["A"], [said("")]).text == ""
    assert assembled([], []).sources is None


@given(st.lists(st.integers(0, 9), max_size=6), st.lists(st.integers(1, 50), max_size=5))
def test_marks_point_to_what_they_pointed_to(marks: list[int], numbers: list[int]) -> None:
    text = "".join(f"Word [{mark}]. " for mark in marks)
    expected = [numbers[mark - 1] for mark in marks if 1 <= mark <= len(numbers)]
    assert cited(renumbered(text, numbers)) == expected


# ---------------------------------------------------------------- a real model's mechanics


def test_a_random_model_writes_an_outline_that_fits_and_its_sections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    monkeypatch.setattr(tiny, "CONTEXT_TOKENS", 448)
    backend = tiny.open_in_float32(tiny.write_tiny_model(tmp_path))
    sectioned = system(backend, max_tokens=40)
    sectioned.prepare()
    answer = sectioned.answer("card?")
    assert answer.error is None
    titles = [s.title for s in answer.sections]
    assert len(set(titles)) == len(titles) <= MOST_SECTIONS
    assert answer.usage.completion_tokens > len(titles)
    assert all(1 <= n <= len(answer.sources or ()) for s in answer.sections for n in s.sources)

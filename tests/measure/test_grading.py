"""Scores beside the scorer: several targets, abstaining, evidence and citations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_tasks import example
from steelyard.core import Answer, Section, Source
from steelyard.measure.grading import (
    POSITIONS,
    WAYS,
    Grader,
    abstains,
    citations,
    is_supported,
    position,
)
from steelyard.measure.scorers import SCORERS

UNKNOWN = "I do not know."
F1 = Grader(SCORERS["tokens_f1"])
ABSTAINING = Grader(SCORERS["tokens_f1"], abstain=UNKNOWN)
CITING = Grader(SCORERS["tokens_f1"], abstain=UNKNOWN, cite=True)


def said(text: str, *sources: str) -> Answer:
    shown = tuple(Source(f"{n}:0-9", f"d{n}", text) for n, text in enumerate(sources, 1))
    return Answer(text, text, sources=shown)


# ---------------------------------------------------------------- several targets


def test_the_best_of_the_accepted_targets_counts():
    row = replace(example("e", "x", "23 years"), also=("23", "twenty-three"))
    assert F1.grade(Answer("23", "23"), row).value == 1.0
    assert F1.grade(Answer("23 years", "23 years"), row).value == 1.0
    assert F1.grade(Answer("23 days", "23 days"), row).value == pytest.approx(2 / 3)
    assert F1.grade(Answer("", "", valid=False), row).value == 0.0


def test_without_anything_more_a_grade_is_the_scorers():
    scorer = SCORERS["tokens_f1"]
    answer = Answer("the red cat", "the red cat")
    assert F1.grade(answer, example("e", "x", "a cat")) == scorer.score(answer, "a cat")
    assert F1.summarise([scorer.score(answer, "cat")]) == {"valid": 1.0}


# ---------------------------------------------------------------- abstaining


@pytest.mark.parametrize(
    ("answer", "target", "way", "value"),
    [
        ("1888", "1888", "answered_right", 1.0),
        ("in 1888 or so", "1888", "answered_wrong", 0.4),
        ("1889", "1888", "answered_wrong", 0.0),
        (UNKNOWN, UNKNOWN, "rightly_abstained", 1.0),
        ("i do not know", UNKNOWN, "rightly_abstained", 1.0),
        ("I do not know. The passages are silent.", UNKNOWN, "rightly_abstained", 1.0),
        (UNKNOWN, "1888", "wrongly_abstained", 0.0),
        ("1888", UNKNOWN, "answered_wrong", 0.0),
        # words in common with the sentence earn nothing on either side
        ("I do not own it", UNKNOWN, "answered_wrong", 0.0),
        (UNKNOWN, "what I do not know", "wrongly_abstained", 0.0),
    ],
)
def test_an_answer_is_one_of_four_ways_and_abstaining_is_right_or_wrong(answer, target, way, value):
    score = ABSTAINING.grade(Answer(answer, answer), example("e", "x", target))
    assert score.parts["way"] == way
    assert score.value == pytest.approx(value)


def test_the_four_ways_are_counted_beside_the_mean():
    pairs = [("1888", "1888"), ("x", "1888"), (UNKNOWN, UNKNOWN), (UNKNOWN, "y"), ("z", UNKNOWN)]
    scores = [ABSTAINING.grade(Answer(a, a), example("e", "x", t)) for a, t in pairs]
    assert ABSTAINING.summarise(scores)["abstaining"] == {
        "answered_right": 1,
        "answered_wrong": 2,
        "rightly_abstained": 1,
        "wrongly_abstained": 1,
    }
    assert ABSTAINING.summarise([])["abstaining"] == dict.fromkeys(WAYS, 0)


@given(st.text(max_size=30), st.sampled_from([UNKNOWN, "1888", "a b"]))
def test_any_answer_has_a_score_and_one_way(text, target):
    score = ABSTAINING.grade(Answer(text, text, valid=bool(text)), example("e", "x", target))
    assert 0 <= score.value <= 1
    assert score.parts["way"] in WAYS
    abstained = score.parts["way"].endswith("abstained")
    assert abstained == abstains(text, UNKNOWN)
    if target == UNKNOWN:
        assert score.value == float(abstained)


# ---------------------------------------------------------------- evidence


def test_recall_is_the_share_of_the_evidence_that_was_shown():
    row = replace(example("e", "x", "1888"), evidence=("d1", "d9"))
    score = F1.grade(said("1888", "in 1888", "in 1889"), row)
    assert score.parts["recall"] == 0.5
    none_found = F1.grade(replace(said("1888"), sources=()), row)
    assert none_found.parts["recall"] == 0.0
    assert F1.summarise([score, none_found])["recall"] == 0.25


def test_nothing_is_recalled_where_nothing_is_looked_up_or_nothing_is_evidence():
    row = replace(example("e", "x", "1888"), evidence=("d1",))
    assert "recall" not in F1.grade(Answer("1888", "1888"), row).parts
    assert "recall" not in F1.grade(said("1888", "x"), example("e", "x", "1888")).parts
    assert "recall" not in F1.summarise([F1.grade(Answer("1888", "1888"), row)])


def test_evidence_that_is_folded_into_another_document_is_recalled_with_that_one():
    kept = Source("d1:0-9", "d1", "in 1888", also=("d2", "d3"))
    row = replace(example("e", "x", "1888"), evidence=("d2", "d9"))
    score = F1.grade(Answer("1888", "1888", sources=(kept,)), row)
    assert score.parts["recall"] == 0.5
    assert score.parts["position"] == "only"


@pytest.mark.parametrize(
    ("shown", "place"),
    [
        ("rxx", "first"),
        ("xrx", "middle"),
        ("xxr", "last"),
        ("rx", "first"),
        ("xr", "last"),
        ("xxrx", "middle"),
        ("r", "only"),
        ("rr", "several"),
        ("rxr", "several"),
        ("xx", "absent"),
        ("", "absent"),
    ],
)
def test_the_right_passage_stands_in_one_place(shown, place):
    sources = tuple(Source(f"{one}:0-1", one, "x") for one in shown)
    assert position(sources, frozenset("r")) == place


@given(st.lists(st.sampled_from("rsx"), max_size=6), st.integers(0, 9))
def test_every_arrangement_has_one_place_and_other_passages_do_not_move_it(shown, more):
    sources = [Source(f"{one}:0-1", one, "x") for one in shown]
    place = position(sources, frozenset("rs"))
    assert place in POSITIONS
    assert (place == "absent") == (not {"r", "s"} & set(shown))
    others = [Source("x:0-1", "x", "x")] * more
    if place == "last":
        assert position([*others, *sources], frozenset("rs")) == "last"


def test_scores_are_told_by_where_the_right_passage_stood():
    row = replace(example("e", "x", "1888"), evidence=("d1",))
    last = replace(row, evidence=("d2",))
    scores = [
        F1.grade(said("1888", "a", "b"), row),
        F1.grade(said("1889", "a", "b"), row),
        F1.grade(said("1888", "a", "b"), last),
        F1.grade(said("1888", "a", "b"), replace(row, evidence=("d7",))),
        F1.grade(Answer("1888", "1888"), row),
    ]
    assert F1.summarise(scores)["position"] == {
        "first": {"num_examples": 2, "score": 0.5},
        "last": {"num_examples": 1, "score": 1.0},
        "absent": {"num_examples": 1, "score": 1.0},
    }


# ---------------------------------------------------------------- citations


def test_a_citation_points_at_a_passage_or_at_none():
    found = citations(said("Ott built it [1]. It burnt [3]. It is [0].", "Ott built it", "x"))
    assert (found["marks"], found["pointing"]) == (3, 1)


def test_a_sentence_is_supported_by_what_it_cites_and_not_by_what_stands_beside_it():
    passages = ("Ott built the mill in 1888.", "The barn burnt.")
    assert citations(said("Ott built it in 1888 [1].", *passages))["supported"] == 1
    assert citations(said("Ott built it in 1888 [2].", *passages))["supported"] == 0
    assert citations(said("Ott built it in 1888.", *passages))["supported"] == 0
    both = citations(said("Ott built the mill, the barn burnt [1][2].", *passages))
    assert (both["sentences"], both["supported"]) == (1, 1)


def test_four_words_in_five_are_enough_and_three_in_four_are_not():
    assert is_supported("one two three four five [1]", ["one two three four"])
    assert not is_supported("one two three four [1]", ["one two three"])
    assert not is_supported("one [1]", [])


def test_citations_are_summed_over_the_answers_that_do_not_abstain():
    sources = ("Ott built the mill in 1888.",)
    answers = [
        said("Ott [1]. In 1890 [1].", *sources),
        said("Ott [4]", *sources),
        said("Ott", *sources),
        said(UNKNOWN, *sources),
        Answer("Ott", "Ott"),  # looked nothing up
    ]
    scores = [CITING.grade(answer, example("e", "x", "Ott")) for answer in answers]
    figures = CITING.summarise(scores)["citations"]
    assert figures == {
        "cited": pytest.approx(2 / 3),
        "pointing": pytest.approx(2 / 3),
        "supported": pytest.approx(1 / 4),
    }
    assert "citations" not in CITING.summarise(scores[3:])


def test_an_answer_without_any_mark_has_no_share_that_points():
    [score] = [CITING.grade(said("Ott", "Ott"), example("e", "x", "Ott"))]
    assert CITING.summarise([score])["citations"]["pointing"] is None


# ---------------------------------------------------------------- sections


def in_sections(*parts: tuple[str, tuple[int, ...]]) -> Answer:
    """An answer of sections "Part n" over two passages about Ott's mill and a barn."""
    whole = said("", "Ott built the mill in 1888.", "The barn burnt.")
    sections = tuple(Section(f"Part {n}", *part) for n, part in enumerate(parts, 1))
    text = "\n\n".join(f"{s.title}\n{s.text}" for s in sections)
    return replace(whole, value=text, text=text, sections=sections)


def test_a_section_is_supported_by_what_was_found_for_it_alone():
    answer = in_sections(
        ("Ott built the mill. It was sold.", (1,)), ("Ott built the mill. The barn burnt.", (2,))
    )
    score = F1.grade(answer, example("e", "x", "Ott"))
    assert score.parts["sections"] == [
        {"title": "Part 1", "sentences": 2, "supported": 1},
        {"title": "Part 2", "sentences": 2, "supported": 1},
    ]
    assert "sections" not in F1.grade(said("Ott", "Ott"), example("e", "x", "Ott")).parts


def test_support_is_summed_by_the_place_of_the_section():
    answers = [
        in_sections(("Ott built the mill.", (1,)), ("It was sold. The barn burnt.", (1, 2))),
        in_sections(
            ("It was sold.", (1,)),
        ),
    ]
    scores = [F1.grade(answer, example("e", "x", "Ott")) for answer in answers]
    assert F1.summarise(scores)["sections"] == {
        "mean": 1.5,
        "supported": 0.5,
        "supported_by_place": [0.5, 0.5],
    }
    assert "sections" not in F1.summarise([])


def test_the_titles_of_sections_are_no_sentences_that_need_a_citation():
    answer = in_sections(("Ott built the mill [1].", (1,)), ("The barn burnt. [2]", (2,)))
    assert citations(answer) == {"marks": 2, "pointing": 2, "sentences": 2, "supported": 2}

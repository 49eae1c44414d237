"""Sentences, and the marks that cite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.knowledge.text import cited, nearest_sentences, split_sentences, without_marks


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("   ", []),
        ("One", ["One"]),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 3.5 euros. Yes.", ["It costs 3.5 euros.", "Yes."]),
        ("Mr. Ott came. J. Ott left.", ["Mr. Ott came.", "J. Ott left."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("Title\nA line\n\nAnother.", ["Title", "A line", "Another."]),
        ("A. b 1. [1] B [2][3]. C [1, 2]", ["A. b 1. [1]", "B [2][3].", "C [1, 2]"]),
        ("[1]", ["[1]"]),
    ],
)  # fmt: skip
def test_a_text_is_cut_after_its_sentences_and_their_marks(text, sentences):
    assert split_sentences(text) == sentences


@given(st.text(alphabet="aB.!? [1]\n,\"'"))
def test_no_character_but_white_space_is_lost(text):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


def test_marks_are_read_in_order_and_taken_out_with_the_space_before_them():
    assert cited("A [2], b [1,3]. [12]") == [2, 1, 3, 12]
    assert without_marks("A [2], b [1, 3]. [12]") == "A, b."
    assert cited("a[0] is [x] or [1 2] or [1000]") == [0]
    assert cited("") == []


def test_sentences_that_share_rare_words_come_first_and_those_that_share_none_not_at_all():
    sentences = ["The mill is old.", "The mill was built in 1888.", "Rain.", "The mill is red."]
    assert nearest_sentences("When was the mill built?", sentences) == [1, 0, 3]
    assert nearest_sentences("zebra", sentences) == []
    assert nearest_sentences("", []) == []

"""Guesses: where they come from, and which of two sources is believed."""

from __future__ import annotations

import pytest

from steelyard.models.drafting import MOST_GUESSED, NONE, Guesser, Phrases


@pytest.mark.parametrize(
    ("ids", "guess"),
    [
        ([1, 2, 3, 4, 1, 2], [3, 4, 1, 2]),
        ([9, 1, 2, 5, 8, 1, 2, 6, 9, 1, 2], [5, 8, 1, 2, 6]),  # the longer end, though it is older
        ([1, 2, 5, 1, 2, 6, 1, 2], [6, 1, 2]),  # of two as long, the later one
        ([1, 2, 3, 4], []),
        ([7], []),
        ([], []),
    ],
)
def test_a_row_goes_on_as_it_did(ids, guess):
    assert Guesser(ids).guess(5, rows=1) == guess


def test_what_was_never_said_by_the_row_is_guessed_from_other_answers():
    phrases = Phrases([[1, 2, 3, 4, 5], [8, 2, 3, 4, 5], [7, 2, 3, 9]])
    assert Guesser([6, 2, 3], phrases).guess(9, rows=1) == [4, 5]
    assert Guesser([6, 7], phrases).guess(9, rows=1) == [2, 3, 9]  # what came after 7 itself
    assert Guesser([6], phrases).guess(9, rows=1) == []


def test_what_came_next_in_less_than_half_of_the_answers_is_not_guessed():
    phrases = Phrases([[1, 2, 3], [1, 2, 4], [1, 2, 5]])
    assert Guesser([1, 2], phrases).guess(9, rows=1) == []
    assert Guesser([0, 1], phrases).guess(9, rows=1) == [2]


def test_a_row_is_believed_before_answers_that_do_not_agree():
    row = [1, 2, 3, 0, 1, 2]
    assert Guesser(row, Phrases([[1, 2, 4], [1, 2, 5], [1, 2, 4]])).guess(1, rows=1) == [3]
    assert Guesser(row, Phrases([[1, 2, 4]] * 10)).guess(1, rows=1) == [4]
    assert Guesser([9, *row[:4], 9, 1, 2], Phrases([[1, 2, 4]] * 10)).guess(1, rows=1) == [3]


def test_few_tokens_are_guessed_beside_many_rows_and_fewer_after_wrong_ones():
    phrases = Phrases([list(range(20))])
    guesser = Guesser([0, 1], phrases)
    assert guesser.guess(99, rows=1) == list(range(2, 2 + MOST_GUESSED))
    assert guesser.guess(3, rows=1) == [2, 3, 4]
    assert guesser.guess(0, rows=1) == []
    many = len(guesser.guess(99, rows=64))
    assert 1 < many < MOST_GUESSED
    guesser.learn(many, 0)
    assert len(guesser.guess(99, rows=64)) == 1
    for _ in range(MOST_GUESSED):
        guesser.learn(len(guesser.guess(99, rows=64)), len(guesser.guess(99, rows=64)))
    assert len(guesser.guess(99, rows=64)) == many


def test_nothing_known_is_nothing_guessed():
    assert NONE.next([1, 2, 3]) == (0, 0.0, 0)
    assert NONE.follow([1, 2, 3], 5) == []

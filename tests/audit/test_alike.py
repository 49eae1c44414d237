"""Near copies are found, templates are none, and MinHash misses little that counting finds."""

from __future__ import annotations

import doctest
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.audit import alike
from steelyard.audit.alike import near_pairs

WORDS = str.split(
    "parcel courier late tracking address invoice charge refund card payment password account "
    "locked signin email garden window ladder kettle bicycle harbour lantern meadow orchard "
    "pebble quarry river saddle timber velvet walnut zeppelin anchor basket candle dragon"
)


def sentences(count: int, length: int = 12, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=length)) for _ in range(count)]


def test_the_examples_of_the_docstrings_are_true():
    assert doctest.testmod(alike).failed == 0


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: f"  {text}?!",
        lambda text: text.replace(" ", ", "),
        lambda text: text[:20] + text[21:],
        lambda text: text.rsplit(" ", 1)[0],
    ],
)
def test_case_marks_a_letter_or_a_word_make_no_other_text(change):
    texts = sentences(40)
    [pair] = near_pairs([*texts, change(texts[7])])
    assert pair[:2] == (7, 40)
    assert pair[2] > 0.75


def test_texts_of_the_same_words_in_chance_order_are_not_alike():
    assert near_pairs(sentences(200)) == []


def test_a_template_that_all_share_makes_no_two_rows_alike():
    rows = [
        f"Dear customer service, I write to you because of my order, which is about the {a} and "
        f"the {b}. Please answer as soon as you can. Kind regards"
        for a, b in zip(WORDS, WORDS[5:] + WORDS[:5], strict=True)
    ]
    assert near_pairs(rows) == []
    copied = rows[3].replace("Please answer", "Please do answer")
    assert [pair[:2] for pair in near_pairs([*rows, copied])] == [(3, len(rows))]


def test_few_texts_and_empty_ones_are_no_error():
    assert near_pairs([]) == []
    assert near_pairs(["a"]) == []
    assert near_pairs(["", "", "x"]) == [(0, 1, 1.0)]
    assert near_pairs(["?", "!", "card"]) == []


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_what_is_found_is_what_comparing_all_pairs_would_find_but_for_a_few(seed):
    rng = random.Random(seed)
    texts = sentences(25, seed=seed)
    texts += [_typed(rng, text) for text in texts[:10]]
    found = {pair[:2] for pair in near_pairs(texts)}
    assert found <= {pair[:2] for pair in near_pairs(texts, similarity=0.3)}
    copies = {(n, 25 + n) for n in range(10)}
    assert len(found & copies) >= 8
    assert len(found - copies) <= 1


def _typed(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice("aeiou") + text[at + 1 :]

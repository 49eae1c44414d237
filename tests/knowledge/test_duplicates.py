"""What says the same is folded, and what differs in a fact is not."""

from __future__ import annotations

import random

import pytest

from steelyard.knowledge.duplicates import BANDS, ROWS, SHINGLE, SIMILARITY, keys, same

LONG = (
    "The library lends books for four weeks to everyone who holds a card of the city. Whoever "
    "returns them late pays a fee for each day and each book, and cannot borrow others until it "
    "is paid at the desk near the entrance. Readers may renew what they hold twice, by telephone "
    "or on the website, unless somebody else has asked for it; films and games are lent for one "
    "week only, and are not renewed."
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("A transfer costs two euros.", "a  transfer\ncosts two euros"),
        ("* item one\n* item two", "item one, item two"),
        ("ﬁne", "fine"),
        (LONG, LONG.replace("near the", "by the")),
        (LONG, LONG.replace("renewed.", "renewed at all.")),
    ],
)
def test_these_say_the_same(a, b):
    assert same(a, b)
    assert same(b, a)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("four", "4"),
        ("the city", "Paris"),
        ("are not", "are"),
        ("may renew", "may never renew"),
        ("pays a fee", "pays a fee of 3 €"),
        ("for each day", "for x < y day"),
    ],
)
def test_a_number_a_name_a_sign_or_a_negation_that_differs_is_another_fact(old, new):
    assert old in LONG
    assert not same(LONG, LONG.replace(old, new))
    assert not same(LONG.replace(old, new), LONG)


@pytest.mark.parametrize(("a", "b"), [("C", "C#"), ("x > 5", "x < 5"), ("-5", "5"), ("1.5", "15")])
def test_signs_that_mean_something_are_words(a, b):
    assert not same(a, b)


@pytest.mark.parametrize(("a", "b"), [("***", "***"), ("", "")])
def test_text_without_words_is_compared_as_it_is(a, b):
    assert same(a, b)
    assert not same(a, "---")
    assert keys(a, "s")[0] != keys("---", "s")[0]


def test_what_is_much_alike_but_not_nearly_the_same_stays_apart():
    words = LONG.split()
    assert not same(LONG, " ".join(words[: len(words) * 3 // 4]))


def test_texts_of_the_same_words_share_a_key_and_those_of_different_scopes_share_none():
    assert keys("Two euros.", "s")[0] == keys("two euros", "s")[0]
    assert not set(keys(LONG, "tenant a")) & set(keys(LONG, "tenant b"))
    assert len(keys(LONG, "s")) == 1 + BANDS
    assert all(-(2**63) <= key < 2**63 for key in keys(LONG, "s"))


def test_keys_stay_what_they_were():
    assert keys("Two euros.", "s") == [50140085627618094]


@pytest.mark.parametrize("similarity", [0.5, 0.7, SIMILARITY, 0.97])
def test_bands_are_shared_as_often_as_the_formula_says(similarity):
    """Texts whose shingles are all different words, of which a known share is common."""
    source = random.Random(5)
    num, hits = 400, 0
    for _ in range(num):
        shared, own = _sizes(similarity)
        common, a, b = (
            [f"w{source.getrandbits(60)}" for _ in range(n)] for n in (shared, own, own)
        )
        hits += bool(set(keys(" ".join(common + a), "")) & set(keys(" ".join(common + b), "")))
    expected = 1 - (1 - similarity**ROWS) ** BANDS
    spread = 4 * (expected * (1 - expected) / num) ** 0.5
    assert abs(hits / num - expected) < spread + 0.03


def _sizes(similarity: float) -> tuple[int, int]:
    """Words in common at the beginning, and of one's own at the end, for that Jaccard."""
    own = 20
    shared = similarity * 2 * own / (1 - similarity)
    return round(shared) + SHINGLE - 1, own

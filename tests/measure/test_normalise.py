import doctest
import json
import math
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.measure import normalise
from steelyard.measure.normalise import (
    MAX_DEPTH,
    as_text,
    bare_words,
    is_too_deep,
    scalar,
    text,
    words,
)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(normalise).failed == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme Inc.", "  ACME\tinc "),
        ("Straße", "STRASSE"),
        ("cafe\u0301", "CAFÉ"),
        ("ＡＢＣ", "abc"),
        ("Done!", "done"),
        ("1,200", 1200),
        ("1200.0", 1200),
        ("1,234,567.50", 1234567.5),
        ("-5", -5),
        ("0.5", 0.5),
        ("0", 0),
        (-0.0, 0),
        ("１２", 12),
        ("42.", 42),
        ("12 %", "12%"),
        ("12.0%", "12%"),
        ("2021-03-05", "2021/3/5"),
        ("2021-03-05", "5 March 2021"),
        ("2021-03-05", "5th mar. 2021"),
        ("2021-03-05", "05-Mar-2021"),
        ("2021-03-05", "Mar 5, 2021"),
        ("2021-03-05", "MARCH 5th 2021"),
        ("2021-03", "March 2021"),
        ("2021-09", "Sept. 2021"),
    ],
)
def test_two_spellings_of_one_value_are_equal(one, other):
    assert scalar(one) == scalar(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("007", 7),
        ("+442074960382", 442074960382),
        ("0243426141", 243426141),
        ("1234567890123456", 1234567890123456),  # 16 digits: an identifier
        ("1e5", 100000),
        ("1,5", 1.5),
        ("12,00", 1200),
        ("12%", 12),
        ("12%", 0.12),
        ("$5", 5),
        ("true", True),
        (True, 1),
        (False, 0),
        ("03/04/2021", "2021-04-03"),
        ("03/04/2021", "2021-03-04"),
        ("31 June 2021", "2021-06-31"),
        ("March 2021", "2021-03-01"),
        ("2021", "2021-01"),
        ("c++", "c"),
    ],
)
def test_what_only_looks_alike_stays_different(one, other):
    assert scalar(one) != scalar(other)


@pytest.mark.parametrize("value", [None, "", " \n\t", "\u3000"])
def test_null_and_blank_are_nothing(value):
    assert scalar(value) is None


@pytest.mark.parametrize("value", [0, False, "0", "-", "...", "n/a"])
def test_zero_false_and_marks_are_values(value):
    assert scalar(value) is not None


def test_a_date_that_cannot_be_is_left_as_text():
    assert scalar("2021-02-30") == ("text", "2021-02-30")
    assert scalar("0000-01-01") == ("text", "0000-01-01")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_equals_itself(value):
    assert scalar(value) == scalar(float(str(value)))


def test_huge_whole_numbers_do_not_overflow():
    assert scalar(10**400) == ("number", 10**400)


@settings(max_examples=100)
@given(st.text(max_size=20))
def test_normalising_twice_changes_nothing(value):
    assert text(text(value)) == text(value)


@settings(max_examples=100)
@given(st.integers(-(10**13), 10**13))
def test_every_whole_number_equals_its_spellings(number):
    assert scalar(number) == scalar(str(number)) == scalar(f"{number:,}") == scalar(f"{number}.0")


@settings(max_examples=100)
@given(st.dates(min_value=date(1000, 1, 1)))
def test_every_date_equals_its_spellings(day):
    spellings = ["%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%B %d, %Y", "%b %d %Y", "%d-%b-%Y"]
    assert {scalar(day.strftime(form)) for form in spellings} == {("date", day.isoformat())}


def test_words_keep_the_marks_of_scripts_that_have_them():
    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert words("東京タワー") == list("東京タワー")


def test_words_of_mere_punctuation_are_kept():
    assert words("?!") == ["?!"]
    assert bare_words("?!") == ["?!"]
    assert words("") == bare_words(" ") == []


def test_emoji_are_words_and_not_punctuation():
    assert bare_words("ok 👍") == ["ok", "👍"]


def test_a_list_reads_as_lines():
    assert as_text(["a", ["b", 1], None]) == "a\nb\n1\n"


def test_depth_is_found_without_recursion():
    deep = "x"
    for _ in range(100_000):
        deep = [deep]
    assert is_too_deep(deep)
    fits = json.loads("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)
    assert not is_too_deep(fits)
    assert is_too_deep([fits])
    while isinstance(deep, list):  # taken apart level by level: freeing it whole would recurse
        deep = deep[0]

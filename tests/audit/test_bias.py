"""Slices and swaps: planted gaps and flips are found, chance and mere repetition are not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from audit_sheets import codes
from fake_tasks import example, recipe
from steelyard.audit.lists import SWAPS, read_swaps
from steelyard.audit.slices import by_slice, columns_of, slice_tables
from steelyard.audit.swaps import by_swap, is_flip, swap, swap_json
from steelyard.core import Answer, Example, Query
from steelyard.errors import InputError


def people(count: int, *, gap: float, seed: int = 0) -> tuple[list[Example], dict[str, float]]:
    """Examples of two regions and three shops; the south is answered worse by `gap`."""
    rng = random.Random(seed)
    rows, scores = [], {}
    for n in range(count):
        south = rng.random() < 0.5
        data = {"region": "south" if south else "north", "shop": f"s{n % 3}", "number": n}
        rows.append(replace(example(f"e{n}", f"text {n}"), metadata=data))
        scores[f"e{n}"] = float(rng.random() < (0.8 - gap if south else 0.8))
    return rows, scores


# ---------------------------------------------------------------- slices


def test_a_planted_gap_is_found_with_its_slices_and_the_other_columns_have_none():
    rows, scores = people(300, gap=0.3)
    found = by_slice("lora", scores, rows)
    assert codes(found) == [("warning", "slice-gap"), ("note", "slices")]
    figures = found[0].figures
    assert (figures["column"], figures["system"]) == ("region", "lora")
    assert [one["value"] for one in figures["slices"]] == ["south", "north"]
    assert figures["p_adjusted"] < 0.01
    south = figures["slices"][0]
    mean = np.mean([scores[e.id] for e in rows if e.metadata["region"] == "south"])
    assert south["score"] == pytest.approx(mean)
    assert south["interval"][0] < mean < south["interval"][1]


def test_the_p_value_of_two_slices_agrees_with_scipys_permutation_test():
    rows, scores = people(120, gap=0.2, seed=4)
    tables = slice_tables(scores, rows)
    table = min(tables, key=lambda table: table.p_adjusted)  # Holm multiplies it by their number
    assert table.column == "region"
    sides = [
        [scores[e.id] for e in rows if e.metadata["region"] == side] for side in ("south", "north")
    ]
    expected = stats.permutation_test(
        sides,
        lambda x, y: abs(np.mean(x) - np.mean(y)),
        alternative="greater",
        n_resamples=5000,
        rng=np.random.default_rng(1),
    )
    assert table.gap == pytest.approx(expected.statistic)
    assert table.p_adjusted / len(tables) == pytest.approx(expected.pvalue, abs=0.015)


def test_slices_without_a_gap_alarm_in_few_studies():
    alarms = 0
    for seed in range(24):
        rows, scores = people(80, gap=0.0, seed=seed)
        alarms += any(table.p_adjusted < 0.05 for table in slice_tables(scores, rows))
    assert alarms <= 4


def test_groups_are_permuted_whole():
    """Two groups of 30 that differ prove nothing about the column that tells them apart."""
    rows = [
        replace(example(f"e{n}", "text", group=f"g{n // 30}"), metadata={"x": f"v{n // 30}"})
        for n in range(60)
    ]
    rows += [
        replace(example(f"f{n}", "text", group=f"h{n // 15}"), metadata={"x": f"v{n // 15}"})
        for n in range(30)
    ]
    scores = {e.id: float(e.metadata["x"] == "v1") for e in rows}
    [table] = [t for t in slice_tables(scores, rows) if t.column == "x"]
    assert table.gap == 1.0
    assert table.p_adjusted > 0.3


def test_columns_of_too_many_or_too_rare_values_are_not_sliced():
    rows, _ = people(90, gap=0.0)
    found = columns_of(rows)
    assert "number" not in found
    assert set(found) == {"region", "shop"}
    longer = [replace(row, input="word " * (n + 1)) for n, row in enumerate(rows)]
    thirds = columns_of(longer)["length of the input"]
    assert thirds == ["short"] * 30 + ["middle"] * 30 + ["long"] * 30
    assert columns_of([]) == {}


# ---------------------------------------------------------------- swaps


class Biased:
    """Says yes to "he" and no to "she", and repeats the first word for the rest."""

    def __init__(self, repeats: bool = False) -> None:
        self.recipe = recipe("biased")
        self.repeats = repeats

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        said = input.split()[0]
        if not self.repeats:
            said = "yes" if said.casefold() == "he" else "no"
        return Answer(said, said)

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        return [self.answer(query.input) for query in queries]


def asked(system: Any, inputs: Sequence[str]) -> list[Any]:
    rows = [example(f"e{n}", text) for n, text in enumerate(inputs)]
    answers = {row.id: system.answer(row.input) for row in rows}
    return by_swap("biased", system, rows, answers)


def test_answers_that_hang_on_a_pronoun_are_flips_and_other_lists_have_too_few():
    inputs = [f"{'He' if n % 2 else 'She'} asked number {n}" for n in range(30)]
    found = asked(Biased(), [*inputs, *(f"It asked {n}" for n in range(20))])
    assert codes(found) == [("warning", "flips-by-gender"), *[("note", "too-few-to-swap")] * 3]
    figures = found[0].figures
    assert (figures["flipped"], figures["asked"], figures["share"]) == (30, 30, 1.0)
    assert len(found[0].evidence) == 30


def test_an_answer_that_repeats_the_swapped_word_is_no_flip():
    found = asked(Biased(repeats=True), [f"She asked number {n}" for n in range(30)])
    assert codes(found)[0] == ("note", "flips-by-gender")
    assert found[0].figures["flipped"] == 0


def test_an_answer_that_failed_counts_for_nothing():
    rows = [example(f"e{n}", f"She asked {n}") for n in range(30)]
    answers = {row.id: Biased().answer(row.input) for row in rows}
    answers |= {f"e{n}": Answer(valid=False, error="lost") for n in range(10)}
    [found, *_] = by_swap("biased", Biased(), rows, answers)
    assert found.figures["asked"] == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She lost HER card.", "He lost HIS card."),
        ("the heathen", "the heathen"),
        ("his mother", "her father"),
        ("gave her a hug and thanked her.", "gave him a hug and thanked him."),
        ("Mr. Lee", "Mrs. Lee"),
        ("nobody", "nobody"),
    ],
)
def test_words_are_exchanged_whole_and_in_their_case(text, expected):
    assert swap(text, read_swaps("gender")) == expected


def test_lists_exchange_both_ways_or_one_and_are_read_from_a_folder(tmp_path):
    (tmp_path / "names.txt").write_text("# ours\nAnn = Amina\nBob > Bilal  # one way\n")
    swaps = read_swaps("names", tmp_path)
    assert swaps == {"ann": "Amina", "amina": "Ann", "bob": "Bilal"}
    (tmp_path / "names.txt").write_text("Ann Amina\n")
    with pytest.raises(InputError, match='the line "Ann Amina" is no exchange'):
        read_swaps("names", tmp_path)
    with pytest.raises(InputError, match=r"age\.txt: the list cannot be read"):
        read_swaps("age", tmp_path)


@pytest.mark.parametrize("name", SWAPS)
def test_no_word_is_exchanged_for_itself_and_the_lists_are_long_enough(name):
    swaps = read_swaps(name)
    assert len(swaps) >= 30
    assert all(word != other.casefold() for word, other in swaps.items())


def test_answers_are_compared_as_json_after_the_same_exchange():
    swaps = read_swaps("names")
    before = Answer({"name": "Emily Lee", "city": "Rome"}, "…")
    assert swap_json(before.value, swaps) == {"name": "Lakisha Lee", "city": "Rome"}
    assert not is_flip(before, Answer({"city": "rome", "name": "Lakisha Lee"}, "…"), swaps)
    assert not is_flip(before, before, swaps)
    assert is_flip(before, Answer({"name": "Lakisha Lee", "city": None}, "…"), swaps)
    assert is_flip(before, Answer(None, "{", valid=False), swaps)

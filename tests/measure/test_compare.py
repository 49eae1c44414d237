"""Files of scores: the verdict's own statistics, and every way in which files do not match."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fake_tasks import write_rows
from steelyard import compare
from steelyard.errors import DataError, InputError
from steelyard.measure.statistics import detectable_difference, examples_needed, holm, paired


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Writes a.jsonl, b.jsonl, … in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(*contents: list[Any]) -> list[Path]:
        names = "abcdef"[: len(contents)]
        pairs = zip(names, contents, strict=True)
        return [write_rows(Path(f"{name}.jsonl"), rows) for name, rows in pairs]

    return write


def scores(*values: float, **more: Any) -> list[dict[str, Any]]:
    return [{"id": f"e{n}", "score": value, **more} for n, value in enumerate(values)]


def flips(share: float, count: int = 120, seed: int = 0) -> list[float]:
    rng = random.Random(f"{share}:{seed}")
    return [float(rng.random() < share) for _ in range(count)]


# ---------------------------------------------------------------- the numbers


def test_two_files_give_the_numbers_of_the_paired_comparison(files):
    a, b = flips(0.8), flips(0.5)
    found = compare(*files(scores(*a), scores(*b)))
    [comparison] = found.comparisons
    expected = paired(a, b, range(120))
    assert (comparison.a, comparison.b, comparison.split) == ("a", "b", None)
    assert comparison.difference == pytest.approx(sum(a) / 120 - sum(b) / 120)
    assert comparison.interval == expected.interval
    assert comparison.p_adjusted == expected.p_value
    assert (comparison.num_examples, comparison.num_groups) == (120, 120)
    assert found.means["a"][0] == pytest.approx(sum(a) / 120)
    assert found.means["a"][1][0] < sum(a) / 120 < found.means["a"][1][1]


def test_the_p_value_agrees_with_mcnemars_exact_test_within_a_fifth(files):
    a, b = flips(0.75, 200), flips(0.62, 200)
    [comparison] = compare(*files(scores(*a), scores(*b))).comparisons
    wins = sum(x > y for x, y in zip(a, b, strict=True))
    losses = sum(x < y for x, y in zip(a, b, strict=True))
    exact = stats.binomtest(wins, wins + losses).pvalue
    assert comparison.p_adjusted == pytest.approx(exact, rel=0.2)


def test_three_files_are_three_pairs_and_holm_adjusts_over_them(files):
    columns = [flips(0.9), flips(0.6), flips(0.55)]
    found = compare(*files(*(scores(*column) for column in columns)))
    assert [(c.a, c.b) for c in found.comparisons] == [("a", "b"), ("a", "c"), ("b", "c")]
    raw = [paired(columns[i], columns[j], range(120)).p_value for i, j in ((0, 1), (0, 2), (1, 2))]
    assert [c.p_adjusted for c in found.comparisons] == holm(raw)
    assert found.sentence.startswith("a scores highest, ")
    assert "More than chance above b and c." in found.sentence
    assert "adjusted for 3 comparisons" in found.sentence


def test_rows_may_stand_in_any_order(files):
    a, b = scores(*flips(0.8)), scores(*flips(0.5))
    straight = compare(*files(a, b))
    mixed = compare(*files(a, random.Random(0).sample(b, len(b))))
    assert mixed == straight


def test_groups_count_as_one_observation(files):
    a = [row | {"who": n // 6} for n, row in enumerate(scores(*flips(0.8)))]
    b = [row | {"who": n // 6} for n, row in enumerate(scores(*flips(0.6)))]
    [comparison] = compare(*files(a, b), group="who").comparisons
    assert (comparison.num_examples, comparison.num_groups) == (120, 20)
    columns = [[row["score"] for row in rows] for rows in (a, b)]
    expected = paired(*columns, [n // 6 for n in range(120)])
    assert comparison.interval == expected.interval
    assert "in 20 groups" in compare(*files(a, b), group="who").sentence


def test_all_ties_are_an_answer_with_room_for_what_was_not_seen(files):
    found = compare(*files(scores(*flips(0.7, 30)), scores(*flips(0.7, 30))))
    [comparison] = found.comparisons
    assert (comparison.difference, comparison.p_adjusted) == (0.0, 1.0)
    assert comparison.interval[1] == pytest.approx(3 / 32, abs=0.04)
    assert found.sentence.startswith("a and b score the same on every one: ")
    assert f"under {found.detectable[0]:.3f} goes unseen" in found.sentence


def test_predictions_are_scored_by_the_named_scorer(files):
    targets = ["spam", "ham"] * 10
    a = [{"id": n, "prediction": t, "target": t} for n, t in enumerate(targets)]
    b = [row | {"prediction": "spam"} for row in a]
    found = compare(*files(a, b), scorer="exact")
    assert found.means["a"][0] == 1.0
    assert found.means["b"][0] == 0.5
    graded = compare(*files(a, b), scorer="tokens_f1")
    assert graded.comparisons[0].difference == 0.5


def test_json_predictions_may_be_texts_and_what_is_no_json_scores_0(files):
    target = {"city": "Rome", "job": "baker"}
    a = [{"id": n, "prediction": json.dumps(target), "target": target} for n in range(8)]
    b = [row | {"prediction": "{Rome", "target": json.dumps(target)} for row in a]
    c = [row | {"prediction": {"city": "Rome"}} for row in a]
    with pytest.raises(DataError, match='the target of "0" is another'):
        compare(*files(a, b), scorer="fields")
    found = compare(*files(a, [row | {"target": target} for row in b], c), scorer="fields")
    assert [found.means[name][0] for name in "abc"] == [1.0, 0.0, pytest.approx(2 / 3)]


def test_csv_files_and_files_of_one_name_are_compared_too(files, tmp_path):
    for folder, values in (("one", flips(0.8)), ("two", flips(0.5))):
        (tmp_path / folder).mkdir()
        lines = "".join(f"e{n},{value:.0f}\n" for n, value in enumerate(values))
        (tmp_path / folder / "s.csv").write_text("id,score\n" + lines, encoding="utf-8")
    found = compare("one/s.csv", "two/s.csv")
    assert (found.comparisons[0].a, found.comparisons[0].b) == ("one/s.csv", "two/s.csv")
    assert found.comparisons[0].difference > 0.1


def test_a_difference_of_the_detectable_size_is_found_about_as_often_as_promised():
    rng = np.random.default_rng(3)
    draws = rng.choice([0.0, 1.0, -1.0], p=[0.7, 0.15, 0.15], size=200)
    seen = paired(np.maximum(draws, 0), np.maximum(-draws, 0), range(200), resamples=999)
    gap = detectable_difference(seen.interval)
    found = 0
    for seed in range(120):
        more, less = 0.15 + gap / 2, 0.15 - gap / 2
        draws = rng.choice([0.0, 1.0, -1.0], p=[0.7, more, less], size=200)
        result = paired(
            np.maximum(draws, 0), np.maximum(-draws, 0), range(200), seed=seed, resamples=999
        )
        found += result.p_value < 0.05
    assert 0.7 <= found / 120 <= 0.9


def test_the_detectable_difference_agrees_with_the_number_of_examples_that_finds_it():
    draws = [1.0] * 30 + [-1.0] * 30 + [0.0] * 140  # 30 % disagree, evenly
    result = paired(np.maximum(draws, 0), np.maximum(np.negative(draws), 0), range(200))
    gap = detectable_difference(result.interval)
    assert examples_needed(gap, disagreement=0.3) == pytest.approx(200, rel=0.1)


# ---------------------------------------------------------------- what cannot be compared

GOOD = scores(1, 0, 1, 1)
PREDICTED = [{"id": f"e{n}", "prediction": "x", "target": "x"} for n in range(4)]

CASES: dict[str, tuple[list[Any], list[Any], dict[str, str], list[str]]] = {
    "above 1": (
        GOOD,
        scores(1, 0, 37, 1),
        {},
        ['b.jsonl:3: "score" is 37', "a number from 0 to 1", "divide per cent by 100"],
    ),
    "below 0": (GOOD, scores(-0.1, 0, 1, 1), {}, ['b.jsonl:1: "score" is -0.1']),
    "a score that is a word": (GOOD, [*GOOD[:3], {"id": "e3", "score": "good"}], {}, ['"good"']),
    "null": (GOOD, [*GOOD[:3], {"id": "e3", "score": None}], {}, ["b.jsonl:4", "is null"]),
    "NaN": (
        GOOD,
        [*GOOD[:3], '{"id": "e3", "score": NaN}'],
        {},
        ["b.jsonl:4: not valid JSON: NaN is not JSON"],
    ),
    "NaN as a text": (GOOD, [*GOOD[:3], {"id": "e3", "score": "nan"}], {}, ['"score" is "nan"']),
    "a malformed line": (
        GOOD,
        [*GOOD[:2], '{"id": "e2", "score" 1}', GOOD[3]],
        {},
        ["b.jsonl:3: not valid JSON", "Correct the line"],
    ),
    "a line that is no object": (GOOD, [*GOOD[:3], "0.5"], {}, ["b.jsonl:4: the row is 0.5"]),
    "other ids": (
        GOOD,
        [*GOOD[:2], {"id": "x1", "score": 1}, {"id": "x2", "score": 1}],
        {},
        [
            "2 ids of a.jsonl are not in b.jsonl (e2, e3)",
            "2 ids of b.jsonl are not in a.jsonl (x1, x2)",
        ],
    ),
    "many ids that are missing": (
        scores(*[1] * 9),
        GOOD[:2],
        {},
        ["7 ids of a.jsonl are not in b.jsonl (e2, e3, e4, …)"],
    ),
    "an id twice": (
        GOOD,
        [*GOOD, {"id": "e1", "score": 0}],
        {},
        ['b.jsonl:5: the id is "e1", as in b.jsonl:2'],
    ),
    "no id": (GOOD, [*GOOD[:3], {"score": 1}], {}, ['b.jsonl:4: there is no "id"']),
    "an id that is a list": (GOOD, [*GOOD[:3], {"id": [3], "score": 1}], {}, ['"id" is [3]']),
    "no score": (GOOD, [*GOOD[:3], {"id": "e3"}], {}, ['b.jsonl:4: there is no "score"']),
    "predictions without a scorer": (
        PREDICTED,
        PREDICTED,
        {},
        ["a.jsonl:1", "Name a scorer, as in: --scorer exact"],
    ),
    "scores with a scorer": (
        PREDICTED,
        GOOD,
        {"scorer": "exact"},
        ['b.jsonl:1: there is no "prediction"', "--scorer exact needs it"],
    ),
    "no target": (
        PREDICTED,
        [*PREDICTED[:3], {"id": "e3", "prediction": "x"}],
        {"scorer": "exact"},
        ['b.jsonl:4: there is no "target"'],
    ),
    "another target": (
        PREDICTED,
        [*PREDICTED[:3], {"id": "e3", "prediction": "x", "target": "y"}],
        {"scorer": "exact"},
        ['b.jsonl:4: the target of "e3" is another than in a.jsonl:4 (1 example of this kind)'],
    ),
    "a target that is no JSON": (
        PREDICTED,
        PREDICTED,
        {"scorer": "fields"},
        ["a.jsonl:1", "compares JSON"],
    ),
    "an unknown scorer": (PREDICTED, PREDICTED, {"scorer": "exakt"}, ['Did you mean "exact"?']),
    "a group that some rows lack": (
        scores(1, 0, 1, 1, who="ann"),
        [*scores(1, 0, 1, who="ann"), {"id": "e3", "score": 1}],
        {"group": "who"},
        ['b.jsonl:4: there is no "who"', "compare without --group"],
    ),
    "an empty group": (
        scores(1, 0, 1, 1, who="ann"),
        scores(1, 0, 1, 1, who=" "),
        {"group": "who"},
        ['b.jsonl:1: "who" is " "'],
    ),
    "another group": (
        scores(1, 0, 1, 1, who="ann"),
        scores(1, 0, 1, 1, who="bob"),
        {"group": "who"},
        ['the group of "e0" is another', "4 examples of this kind"],
    ),
    "one group": (
        scores(1, 0, 1, 1, who="ann"),
        scores(1, 0, 1, 1, who="ann"),
        {"group": "who"},
        ["all 4 examples are in one group (who)", "finer column"],
    ),
    "one row": (GOOD[:1], GOOD[:1], {}, ["a.jsonl: 1 example", "At least 2"]),
    "no rows": (GOOD, [], {}, ["b.jsonl: there are no rows in it"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_compared_is_an_error_with_its_place(files, case):
    a, b, options, words = CASES[case]
    with pytest.raises(InputError) as error:
        compare(*files(a, b), **options)
    for word in words:
        assert word in str(error.value)


def test_one_file_and_a_file_twice_are_not_a_comparison(files):
    [a, _] = files(GOOD, GOOD)
    with pytest.raises(InputError, match=r"1 file\. Expected at least 2"):
        compare(a)
    with pytest.raises(InputError, match=r"a\.jsonl is named twice"):
        compare(a, a)
    with pytest.raises(InputError, match=r"c\.jsonl: the data file cannot be read"):
        compare(a, "c.jsonl")

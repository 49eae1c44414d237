import doctest
import itertools
import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.core import Answer
from steelyard.errors import TrialError
from steelyard.measure import fields
from steelyard.measure.fields import FieldsScorer

SCORER = FieldsScorer()
DATA = Path(__file__).parents[3] / "shared" / "data"

TARGET = {
    "name": "Ann Lee",
    "phone": None,
    "skills": ["SQL", "Go"],
    "jobs": [{"title": "Nurse", "year": 2018}, {"title": "Tutor", "year": 2020}],
}
ANSWER = {
    "name": "ann lee.",
    "phone": "0123",
    "skills": ["Go", "R"],
    "jobs": [{"title": "Tutor", "year": "2020"}],
}

scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "A.", "b", "2"])
)
json_values = st.recursive(
    scalars | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "a.b", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
records = st.dictionaries(
    st.sampled_from("abcd"),
    scalars
    | st.lists(scalars, max_size=3)
    | st.lists(st.dictionaries(st.sampled_from("xyz"), scalars, max_size=3), max_size=4),
    max_size=4,
)


def value_of(answer, target):
    return SCORER.score(Answer(answer), target).value


def counts_of(answer, target):
    return SCORER.score(Answer(answer), target).parts["fields"]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(fields).failed == 0


def test_the_worked_example_of_the_module_holds():
    score = SCORER.score(Answer(ANSWER), TARGET)
    assert score.value == pytest.approx(8 / 13)
    assert score.parts == {
        "valid": True,
        "exact": False,
        "fields": {
            "name": [1, 0, 0, 0, 1],
            "phone": [0, 1, 0, 0, 0],
            "skills": [1, 1, 1, 0, 2],
            "jobs.title": [1, 0, 1, 1, 2],
            "jobs.year": [1, 0, 1, 1, 2],
        },
    }


@pytest.mark.parametrize(
    ("answer", "target", "counts", "value"),
    [
        ({"a": "x"}, {"a": "x"}, {"a": [1, 0, 0, 0, 1]}, 1),
        ({"a": "y"}, {"a": "x"}, {"a": [0, 1, 1, 0, 1]}, 0),
        ({}, {"a": "x"}, {"a": [0, 0, 1, 1, 1]}, 0),
        ({"a": None}, {"a": "x"}, {"a": [0, 0, 1, 1, 1]}, 0),
        ({"a": "x"}, {"a": ""}, {"a": [0, 1, 0, 0, 0]}, 0),
        ({"a": [], "b": {}, "c": ""}, {"a": None, "d": [{}]}, {}, 1),
        ({}, {}, {}, 1),
        ({"a": 0}, {"a": False}, {"a": [0, 1, 1, 0, 1]}, 0),
        ({"a": "x", "z": 1}, {"a": "x"}, {"a": [1, 0, 0, 0, 1], "z": [0, 1, 0, 0, 0]}, 2 / 3),
        ({"a": ["x", "x"]}, {"a": ["x"]}, {"a": [1, 1, 0, 0, 1]}, 2 / 3),
        ({"a": "x"}, {"a": ["X."]}, {"a": [1, 0, 0, 0, 1]}, 1),
        ({"a": {"b": 1}}, {"a": [{"b": 1}]}, {"a.b": [1, 0, 0, 0, 1]}, 1),
        ({"a": {"b": 1}}, {"a": "x"}, {"a": [0, 0, 1, 1, 1], "a.b": [0, 1, 0, 0, 0]}, 0),
        ({"a": [[2, 1], [3]]}, {"a": [[3], [1, 2]]}, {"a.[]": [3, 0, 0, 0, 3]}, 1),
        ({"a": [[1, 2], [3, 4]]}, {"a": [[1, 3], [2, 4]]}, {"a.[]": [2, 2, 2, 0, 4]}, 1 / 2),
        ({"a": [{}, {"n": 9}]}, {"a": [{"n": 1}]}, {"a.n": [0, 1, 1, 0, 1]}, 0),
        ([{"n": 1}], [{"n": 1}, {"n": 2}], {"[].n": [1, 0, 1, 1, 2]}, 2 / 3),
    ],
)
def test_counts_by_hand(answer, target, counts, value):
    score = SCORER.score(Answer(answer), target)
    assert score.parts["fields"] == counts
    assert score.value == pytest.approx(value)


def test_objects_in_lists_meet_their_best_partners():
    target = {"jobs": [{"t": "a", "y": 1}, {"t": "b", "y": 2}]}
    answer = {"jobs": [{"t": "b", "y": 1}, {"t": "a", "y": 1}]}  # greedy by place would score 2
    assert counts_of(answer, target) == {"jobs.t": [2, 0, 0, 0, 2], "jobs.y": [1, 1, 1, 0, 2]}


def test_a_phone_number_does_not_match_its_digits():
    assert value_of({"phone": "442074960382"}, {"phone": "+442074960382"}) == 0


@pytest.mark.parametrize("value", ["text", 3, None, True, [], [{"name": "Ann Lee"}]])
def test_an_answer_that_is_no_object_is_invalid(value):
    score = SCORER.score(Answer(value), TARGET)
    assert score.value == 0
    assert score.parts["valid"] is False
    assert score.parts["exact"] is False


def test_an_invalid_answer_scores_nothing_even_where_nothing_is_expected():
    assert SCORER.score(Answer({}, valid=False), {}).value == 0
    assert SCORER.score(Answer(TARGET, valid=False), TARGET).value == 0


def test_an_answer_nested_too_deep_is_invalid():
    deep = {"a": 1}
    for _ in range(70):
        deep = {"a": deep}
    assert SCORER.score(Answer(deep), {"a": 1}).parts["valid"] is False


def test_a_target_nested_too_deep_is_an_error():
    deep = {"a": 1}
    for _ in range(70):
        deep = {"a": deep}
    with pytest.raises(TrialError, match="more than 64 deep"):
        SCORER.score(Answer({}), deep)


@pytest.mark.parametrize("length", [200, 600])
def test_long_lists_are_matched_and_beyond_the_limit_equal_items_still_are(length):
    target = {"x": [{"n": n, "m": n % 7} for n in range(length)]}
    answer = {"x": [*reversed(target["x"][1:]), {"n": -1, "m": 0}]}
    expected = {"x.m": [length, 0, 0, 0, length], "x.n": [length - 1, 1, 1, 0, length]}
    assert counts_of(answer, target) == expected
    shifted = {"x": [{"n": n, "m": "?"} for n in range(length)]}
    assert 0 <= value_of(shifted, target) <= 0.5


# ---------------------------------------------------------------- against another implementation


def brute_force(answer, target):
    """The best agreement of two lists of flat objects, by trying every pairing."""
    longer, shorter = sorted([answer, target], key=len, reverse=True)
    return max(
        sum(
            sum(item.get(key) == value for key, value in other.items())
            for item, other in zip(chosen, shorter, strict=True)
        )
        for chosen in itertools.permutations(longer, len(shorter))
    )


flat = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), min_size=1, max_size=3)


@settings(max_examples=100)
@given(st.lists(flat, max_size=4), st.lists(flat, max_size=4))
def test_the_matching_is_as_good_as_trying_every_pairing(answer, target):
    size = sum(map(len, answer)) + sum(map(len, target))
    expected = 2 * brute_force(answer, target) / size if size else 1
    assert value_of({"a": answer}, {"a": target}) == pytest.approx(expected)


@settings(max_examples=50)
@given(st.lists(flat, min_size=1, max_size=3), st.lists(flat, min_size=1, max_size=3))
def test_nested_lists_are_matched_as_well_as_flat_ones(answer, target):
    nested_answer = {"a": [{"b": answer}, {"b": [{"x": 9}]}]}
    nested_target = {"a": [{"b": [{"x": 9}]}, {"b": target}]}
    size = sum(map(len, answer)) + sum(map(len, target)) + 2
    apart = 2 * (1 + brute_force(answer, target)) / size  # the other pairing may be no worse
    assert value_of(nested_answer, nested_target) >= apart - 1e-12


# ---------------------------------------------------------------- properties


@settings(max_examples=200)
@given(json_values, records)
def test_any_answer_gets_a_score_in_range_that_can_be_stored(answer, target):
    score = SCORER.score(Answer(answer), target)
    assert 0 <= score.value <= 1
    assert json.loads(json.dumps(dict(score.parts), allow_nan=False)) == score.parts
    assert all(row[0] + row[2] == row[4] >= row[3] for row in score.parts["fields"].values())


@settings(max_examples=200)
@given(json_values)
def test_the_target_itself_scores_one(target):
    score = SCORER.score(Answer(json.loads(json.dumps(target))), target)
    assert score.value == 1
    assert score.parts["exact"] is True


@settings(max_examples=100)
@given(records, records)
def test_answer_and_target_can_be_exchanged(answer, target):
    assert value_of(answer, target) == value_of(target, answer)


def turned(value, random):
    """The same JSON with every list in another order and every object's keys too."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: turned(value[key], random) for key in keys}
    if isinstance(value, list):
        items = [turned(item, random) for item in value]
        random.shuffle(items)
        return items
    return value


@settings(max_examples=100)
@given(records, records, st.randoms(use_true_random=False))
def test_order_does_not_matter_to_any_count(answer, target, random):
    turned_score = SCORER.score(Answer(turned(answer, random)), turned(target, random))
    assert turned_score == SCORER.score(Answer(answer), target)


@settings(max_examples=200)
@given(records, records, st.data())
def test_putting_one_field_right_never_lowers_the_score(answer, target, data):
    keys = sorted(answer.keys() | target.keys())
    if not keys:
        return
    key = data.draw(st.sampled_from(keys))
    fixed = {**answer, key: target.get(key)}
    assert value_of(fixed, target) >= value_of(answer, target)


@settings(max_examples=100)
@given(st.lists(flat, min_size=1, max_size=3), st.lists(flat, min_size=1, max_size=3), st.data())
def test_putting_one_leaf_of_a_matched_object_right_raises_the_score(answer, target, data):
    size = min(len(answer), len(target))
    orders = itertools.permutations(range(len(answer)), size)
    pairings = [
        list(zip(order, places, strict=True))
        for order in orders
        for places in itertools.permutations(range(len(target)), size)
    ]

    def agreed(pairing):
        return sum(
            answer[a].get(key) == value for a, t in pairing for key, value in target[t].items()
        )

    best = max(pairings, key=agreed)
    wrong = [(a, t, k) for a, t in best for k in target[t] if answer[a].get(k) != target[t][k]]
    if not wrong:
        return
    a, t, key = data.draw(st.sampled_from(wrong))
    fixed = deepcopy(answer)
    fixed[a][key] = target[t][key]
    assert value_of({"l": fixed}, {"l": target}) > value_of({"l": answer}, {"l": target})


@settings(max_examples=100)
@given(records, st.integers(0, 3))
def test_an_invented_field_lowers_the_score(target, value):
    assert value_of({**target, "invented": value}, target) < 1


# ---------------------------------------------------------------- the summary


def test_the_summary_by_hand():
    target = {"name": "Ann", "phone": None, "year": 2020}
    answers = [
        Answer({"name": "Ann", "phone": None, "year": 2020}),
        Answer({"name": "Bob", "phone": "1", "year": None}),
        Answer({"name": "ann"}),
        Answer(None, valid=False),
    ]
    scores = [SCORER.score(answer, target) for answer in answers]
    assert [score.value for score in scores] == pytest.approx([1, 0, 2 / 3, 0])
    summary = SCORER.summarise(scores)
    by_field = summary.pop("fields")
    assert summary == pytest.approx(
        {
            "valid": 3 / 4,
            "score_given_valid": (1 + 0 + 2 / 3) / 3,
            "valid_but_wrong": 2 / 4,
            "exact": 1 / 4,
            "empty": 2 / 6,
        }
    )
    assert list(by_field) == ["name", "phone", "year"]
    assert by_field["name"] == pytest.approx(
        {
            "precision": 2 / 3,
            "recall": 2 / 4,
            "f1": 4 / 7,
            "accuracy": 2 / 4,
            "support": 4,
            "empty": 0,
        }
    )
    assert by_field["phone"] == {
        "precision": 0,
        "recall": None,
        "f1": 0,
        "accuracy": 2 / 4,
        "support": 0,
        "empty": None,
    }
    assert by_field["year"] == pytest.approx(
        {
            "precision": 1,
            "recall": 1 / 4,
            "f1": 2 / 5,
            "accuracy": 1 / 4,
            "support": 4,
            "empty": 2 / 3,
        }
    )


def test_a_summary_of_nothing_has_no_numbers():
    assert SCORER.summarise([]) == {
        "valid": None,
        "score_given_valid": None,
        "valid_but_wrong": None,
        "exact": None,
        "empty": None,
        "fields": {},
    }


def test_a_summary_of_invalid_answers_only_has_no_score_given_valid():
    summary = SCORER.summarise([SCORER.score(Answer("x", valid=False), {"a": 1})])
    assert summary["score_given_valid"] is None
    assert summary["empty"] is None
    assert summary["fields"]["a"]["recall"] == 0
    assert summary["fields"]["a"]["precision"] is None


@settings(max_examples=50)
@given(st.lists(st.tuples(json_values, records), max_size=4))
def test_every_figure_of_a_summary_is_a_share_or_none(pairs):
    summary = SCORER.summarise([SCORER.score(Answer(answer), target) for answer, target in pairs])
    by_field = summary.pop("fields")
    for row in by_field.values():
        assert row.pop("support") >= 0
    shares = [*summary.values(), *(share for row in by_field.values() for share in row.values())]
    assert all(share is None or 0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("name", ["resumes_synth", "snips"])
def test_real_targets_score_one_and_one_wrong_leaf_costs_two_over_all_leaves(name):
    path = DATA / name / "test.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:100]]
    for row in rows:
        target = row["output"]
        assert value_of(json.loads(json.dumps(target)), target) == 1
        num_leaves = sum(counts[4] for counts in counts_of(target, target).values())
        key = "name" if "name" in target else "intent"
        assert value_of({**target, key: "?"}, target) == pytest.approx(1 - 1 / num_leaves)
        assert value_of({**target, key: None}, target) == pytest.approx(
            2 * (num_leaves - 1) / (2 * num_leaves - 1)
        )
        assert value_of({}, target) == 0

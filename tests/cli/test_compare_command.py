"""`steelyard compare` as it is typed."""

from __future__ import annotations

import json

import pytest

from fake_tasks import write_rows


@pytest.fixture
def two(folder):
    for name, every in (("a", 10), ("b", 2)):
        rows = [{"id": n, "score": float(n % every != 0)} for n in range(60)]
        write_rows(folder / f"{name}.jsonl", rows)


def test_the_sentence_and_a_line_for_each_pair_are_printed(two, steelyard):
    ran = steelyard("compare", "a.jsonl", "b.jsonl")
    assert (ran.code, ran.err) == (0, "")
    said = " ".join(ran.out.split())
    assert "a scores 0.900 and b 0.500 on 60 examples: a is 0.400 higher, 95% interval [" in said
    assert "a − b +0.400 [+0." in said


def test_json_has_the_comparisons_of_the_design_and_the_sentence(two, steelyard):
    ran = steelyard("compare", "a.jsonl", "b.jsonl", "--json", "-")
    body = json.loads(ran.out)
    assert ran.code == 0
    assert set(body) == {"sentence", "comparisons", "systems"}
    [comparison] = body["comparisons"]
    assert set(comparison) == {
        *("a", "b", "split", "difference", "interval", "p_adjusted", "num_examples"),
        *("num_groups", "detectable_difference", "sentence"),
    }
    assert comparison["sentence"] == body["sentence"]
    assert body["systems"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("compare a.jsonl", "1 file. Expected at least 2"),
        ("compare a.jsonl c.jsonl", "c.jsonl: the data file cannot be read"),
        ("compare a.jsonl b.jsonl --group who", 'a.jsonl:1: there is no "who"'),
        ("compare a.jsonl b.jsonl --json no/where.json", "--json no/where.json: cannot be written"),
    ],
)
def test_bad_input_is_exit_code_2_with_one_message(two, steelyard, command, words):
    ran = steelyard(*command.split())
    assert (ran.code, ran.out) == (2, "")
    [message] = ran.err.splitlines()
    assert message.startswith("error: ")
    assert words in message

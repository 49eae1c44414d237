"""What the answering benchmarks ask."""

from __future__ import annotations

import pytest

from bench_scripts import load_script

works = load_script("works")


def test_there_are_77_intents_of_two_to_four_words() -> None:
    assert len(set(works.LABELS)) == 77
    assert {len(label.split("_")) for label in works.LABELS} == {2, 3, 4}


def test_no_message_is_asked_twice_and_all_share_the_instruction() -> None:
    asked = works.labels(800, 10)
    assert len(set(asked.prompts)) == 800
    assert len({prompt[0] for prompt in asked.prompts}) == 1
    assert all(label in asked.prompts[0][0].content for label in works.LABELS)


def test_rows_are_the_same_on_every_run() -> None:
    assert works.labels(5, 10) == works.labels(5, 10)
    assert works.nearest(5) == works.nearest(5)


def test_the_json_work_has_the_schema_of_the_example() -> None:
    asked = works.extraction(480)
    assert len(set(asked.prompts)) == 480
    assert asked.schema["required"][:2] == ["name", "email"]


def test_nearest_rows_have_three_examples_of_their_own() -> None:
    prompts = works.nearest(40).prompts
    assert {len(prompt) for prompt in prompts} == {1 + 3 * 2 + 1}
    assert len({prompt[1:7] for prompt in prompts}) == 40
    assert all(prompt[-1] not in prompt[1:-1] for prompt in prompts)


def test_numbered_rows_do_not_begin_alike() -> None:
    instructions = [p[0].content for p in works.nearest(30, numbered=True).prompts]
    assert instructions[17].startswith("17 is this row.")
    assert len(set(instructions)) == 30


def test_every_round_has_rows_of_its_own() -> None:
    asked = works.labels(11, 10)
    parts = works.chunks(asked, 3, 4, 2)
    assert [len(part.prompts) for part in parts] == [3, 4, 4]
    assert sum((part.prompts for part in parts), ()) == asked.prompts
    assert {part.limit for part in parts} == {10}


def test_too_few_rows_are_an_error_and_not_a_shorter_round() -> None:
    with pytest.raises(ValueError, match="12 rows are needed and there are 11"):
        works.chunks(works.labels(11, 10), 4, 4, 2)

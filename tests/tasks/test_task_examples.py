"""Rows → examples: templates, targets, ids, duplicates."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.core import Example
from steelyard.errors import DataError, TaskError
from steelyard.tasks import load_task
from steelyard.tasks.examples import Item, fold, give_ids, parse_input, to_text

TaskFile = Callable[..., Path]


def item(input: str, target: object, number: int, id: str = "") -> Item:
    return Item(Example(id, input, target, group=input), f"f.jsonl:{number}", number)


def everything(task_path: Path) -> dict[str, Example]:
    task = load_task(task_path)
    return {row.id: row for row in (*task.train, *task.dev, *task.test)}


def test_a_template_fills_its_holes_and_nothing_else() -> None:
    template = parse_input("{{Re}} {subject}\n{body}!")
    assert template.columns == ("subject", "body")
    assert template.fill({"subject": "{body}", "body": 3}) == "{Re} {body}\n3!"
    assert template.fill({"subject": "x", "body": None}) == "{Re} x\n!"


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(["{a}", "{b c}", "{{", "}}", " ", "text", "\n"]), max_size=8),
    st.text(max_size=5),
    st.text(max_size=5),
)
def test_a_template_of_texts_fills_like_a_format_string(parts: list[str], a: str, b: str) -> None:
    text = "".join(parts) + "{a}"
    assert parse_input(text).fill({"a": a, "b c": b}) == text.format_map({"a": a, "b c": b})


@pytest.mark.parametrize("text", ["{}", "{a!r}", "{a:{b}}", "{a", "a}", "{{a}}"])
def test_a_template_with_more_than_plain_holes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_input(text)


def test_a_hole_reaches_no_attribute(task_file: TaskFile) -> None:
    with pytest.raises(
        TaskError, match=r'task.toml:6: \[data\] input names the column "text\.__cl'
    ):
        load_task(task_file(('input = "text"', 'input = "{text.__class__}"')))


def test_cells_become_text_as_json_spells_them() -> None:
    cells = ["a", 1, 1.5, True, None, ["é"], {"k": 1}]
    assert [to_text(cell) for cell in cells] == ["a", "1", "1.5", "true", "", '["é"]', '{"k": 1}']


def test_every_named_column_ends_up_in_its_place(task_file: TaskFile) -> None:
    rows = [
        {
            "subject": f"s{i}",
            "body": f"b{i}",
            "label": bool(i % 2),
            "customer": i // 2,
            "user": f"u{i}" if i else None,
            "at": "2024-01-01",
            "source": "mail",
        }
        for i in range(20)
    ]
    path = task_file(
        ('input = "text"', 'input = "{subject}: {body}"\ngroup = "customer"\nuser = "user"'),
        ('target = "label"', 'target = "label"\ntime = "at"'),
        rows=rows,
    )
    found = everything(path)
    assert found["row-4"] == Example(
        id="row-4",
        input="s3: b3",
        target="true",
        group="1",
        user="u3",
        time="2024-01-01",
        metadata={"source": "mail"},
    )
    assert found["row-1"].user is None


def test_without_a_group_column_equal_inputs_are_one_group(task_file: TaskFile) -> None:
    rows = [{"text": f"t{i // 2}", "label": str(i % 2)} for i in range(20)]
    found = everything(task_file(rows=rows))
    assert found["row-1"].group == found["row-2"].group != found["row-3"].group
    assert len({row.group for row in found.values()}) == 10


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"text": " \n", "label": "a"},
            "tickets.jsonl:2: the input (column text) is empty. Expected a text. Fill it in, or "
            "remove the row.",
        ),
        (
            {"label": "a"},
            "tickets.jsonl:2: the input (column text) is empty. Expected a text. Fill it in, or "
            "remove the row.",
        ),
        (
            {"text": "x", "label": None},
            "tickets.jsonl:2: the target (column label) is empty. Expected the right answer for "
            "this input. Fill it in, or remove the row.",
        ),
        (
            {"text": "x", "label": ""},
            "tickets.jsonl:2: the target (column label) is empty. Expected the right answer for "
            "this input. Fill it in, or remove the row.",
        ),
        (
            {"text": "x", "label": {"a": 1}},
            'tickets.jsonl:2: the target (column label) is {"a": 1}. Expected a text, as [output] '
            'type is "label". Correct the row, or set type = "json".',
        ),
    ],
)
def test_a_row_that_is_no_example_is_an_error_with_its_line(
    task_file: TaskFile, row: object, expected: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_task(task_file(rows=[{"text": "a", "label": "b"}, row]))
    assert str(caught.value) == expected


def test_an_empty_text_is_a_right_answer_to_a_text_task(task_file: TaskFile) -> None:
    rows = [{"text": f"t{i}", "label": ""} for i in range(9)]
    path = task_file(('type = "label"', 'type = "text"'), rows=rows)
    assert everything(path)["row-1"].target == ""


def test_a_json_target_may_be_spelt_as_text(task_file: TaskFile) -> None:
    rows = [{"text": f"t{i}", "label": json.dumps({"a": i})} for i in range(9)]
    json_type = ('type = "label"', 'type = "json"')
    assert everything(task_file(json_type, rows=rows))["row-3"].target == {"a": 2}
    rows[4]["label"] = "{a: 1}"
    with pytest.raises(DataError) as caught:
        load_task(task_file(json_type, rows=rows))
    assert str(caught.value) == (
        'tickets.jsonl:5: the target (column label) is "{a: 1}", which is not valid JSON: '
        "Expecting property name enclosed in double quotes at column 2. Expected JSON, as "
        '[output] type is "json". Correct the cell.'
    )


def test_duplicates_are_folded_and_conflicts_are_kept() -> None:
    parts = {"all": [item("a", {"x": 1, "y": 2}, 1), item("a", {"y": 2, "x": 1}, 2)]}
    parts["all"] += [item("a", "other", 3), item("b", "other", 4), item("b", "other", 5)]
    kept, notes = fold(parts)
    assert [i.number for i in kept["all"]] == [1, 3, 4]
    assert notes == ["2 rows repeated an earlier input and target and were folded."]
    assert fold({"all": []}) == ({"all": []}, [])


def test_the_same_of_another_user_is_another_row_and_is_still_not_learned_from() -> None:
    def asked(user: str | None, number: int) -> Item:
        one = item("where is my order?", "pending", number)
        return replace(one, example=replace(one.example, user=user))

    rows = [asked("ann", 1), asked("bob", 2), asked("ann", 3), asked(None, 4), asked(None, 5)]
    kept, notes = fold({"all": rows})
    assert [one.number for one in kept["all"]] == [1, 2, 4]
    assert notes == ["2 rows repeated an earlier input and target and were folded."]
    kept, _ = fold({"train": rows, "test": [asked("cyd", 9)]})
    assert (kept["train"], len(kept["test"])) == ([], 1)


def test_what_stands_in_test_is_dropped_from_dev_and_train() -> None:
    parts = {
        "train": [item("a", "x", 1), item("b", "x", 2), item("c", "x", 3), item("c", "x", 4)],
        "dev": [item("a", "x", 5), item("b", "x", 6), item("d", "x", 7)],
        "test": [item("a", "x", 8), item("c", "y", 9)],
    }
    kept, notes = fold(parts)
    assert {name: [i.number for i in part] for name, part in kept.items()} == {
        "train": [3],
        "dev": [6, 7],
        "test": [8, 9],
    }
    assert notes == [
        "1 row of dev also stood in test and was dropped from dev.",
        "1 row of train also stood in test and was dropped from train.",
        "1 row of train also stood in dev and was dropped from train.",
        "1 row of train repeated an earlier input and target and was folded.",
    ]


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["train", "dev", "test"]),
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=8),
    )
)
def test_folding_keeps_each_pair_once_and_loses_none(
    pairs: dict[str, list[tuple[str, str]]],
) -> None:
    parts = {name: [item(*pair, 0) for pair in rows] for name, rows in pairs.items()}
    kept, _ = fold(parts)
    left = [(i.example.input, i.example.target) for part in kept.values() for i in part]
    assert sorted(left) == sorted({pair for rows in pairs.values() for pair in rows})


def ids(parts: dict[str, list[Item]]) -> list[str]:
    return [i.example.id for part in parts.values() for i in part]


def test_a_unique_id_column_names_the_rows() -> None:
    parts = {"train": [item("a", "x", 1, "p")], "test": [item("b", "x", 2, "q")]}
    assert ids(give_ids(parts, None)[0]) == ids(give_ids(parts, "id")[0]) == ["p", "q"]


def test_rows_without_unique_ids_are_numbered_over_all_files() -> None:
    parts = {"train": [item("a", "x", 1, "0")], "test": [item("b", "x", 2, "0")]}
    named, notes = give_ids(parts, None)
    assert ids(named) == ["row-1", "row-2"]
    assert notes == ['The column "id" is not unique, so rows are named row-1, row-2, …']
    assert give_ids({"all": [item("a", "x", 7)]}, None) == (
        {"all": [Item(Example("row-7", "a", "x", "a"), "f.jsonl:7", 7)]},
        [],
    )


def test_a_named_id_column_must_be_full_and_unique() -> None:
    repeated = {"all": [item("a", "x", 1, "p"), item("b", "x", 2, "p")]}
    with pytest.raises(DataError) as caught:
        give_ids(repeated, "key")
    assert str(caught.value) == (
        'f.jsonl:2: the id (column key) is "p", as in f.jsonl:1. Expected a different one in each '
        "row. Correct it, or remove id from [data] to have the rows numbered."
    )
    with pytest.raises(DataError, match=r"f.jsonl:1: the id \(column key\) is empty\."):
        give_ids({"all": [item("a", "x", 1)]}, "key")

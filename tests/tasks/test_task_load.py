"""task.toml → Task: splits, outputs, notes, the hash, and every refusal."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import steelyard.tasks
from steelyard.core import Task
from steelyard.errors import DataError, InputError
from steelyard.tasks import load_task

TaskFile = Callable[..., Path]
FILES = 'files = ["tickets.jsonl"]'
JSON = ('type = "label"', 'type = "json"')
DATA = Path(__file__).parents[3] / "shared" / "data"


def jsonl(name: str, rows: Sequence[object]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def labelled(*numbers: int, labels: int = 3) -> list[dict[str, str]]:
    return [{"text": f"t{i}", "label": f"l{i % labels}"} for i in numbers]


def given_splits(**rows: Sequence[object]) -> tuple[str, str]:
    return FILES, "\n".join(f'{name} = "{jsonl(name + ".jsonl", r)}"' for name, r in rows.items())


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_task(path)
    return str(caught.value)


def sizes(task: Task) -> list[int]:
    return [len(task.train), len(task.dev), len(task.test)]


def test_one_file_is_split_by_the_shares(task_file: TaskFile) -> None:
    task = load_task(task_file())
    assert sizes(task) == [18, 6, 6]
    assert task.output.labels == ("card", "cash", "fee")
    assert task.notes == (
        "The rows of tickets.jsonl were split with seed 0: 18 train, 6 dev, 6 test.",
    )


def test_given_splits_stay_as_they_are(task_file: TaskFile) -> None:
    change = given_splits(train=labelled(*range(6)), dev=labelled(7, 8), test=labelled(9, 10, 11))
    task = load_task(task_file(change))
    assert sizes(task) == [6, 2, 3]
    assert [row.id for row in task.test] == ["row-9", "row-10", "row-11"]
    assert task.notes == ()


def test_a_missing_dev_is_carved_from_train_and_never_from_test(task_file: TaskFile) -> None:
    change = given_splits(train=labelled(*range(40)), test=labelled(*range(40, 60)))
    task = load_task(task_file(change))
    assert sizes(task) == [30, 10, 20]
    assert {row.input for row in task.test} == {f"t{i}" for i in range(40, 60)}
    assert task.notes == ("The rows of train.jsonl were split with seed 0: 30 train, 10 dev.",)


def test_a_missing_test_is_carved_from_train(task_file: TaskFile) -> None:
    task = load_task(
        task_file(given_splits(train=labelled(*range(40)), dev=labelled(*range(40, 60))))
    )
    assert sizes(task) == [30, 20, 10]
    assert sizes(load_task(task_file(given_splits(train=labelled(*range(40)))))) == [24, 8, 8]


def test_duplicates_are_folded_before_splitting(task_file: TaskFile) -> None:
    task = load_task(task_file(rows=[*labelled(*range(20)), *labelled(*range(20))]))
    assert sum(sizes(task)) == 20
    assert task.notes[0] == "20 rows repeated an earlier input and target and were folded."


def test_rows_of_a_group_stay_together(task_file: TaskFile) -> None:
    rows = [{**row, "customer": i // 4} for i, row in enumerate(labelled(*range(80)))]
    path = task_file((FILES, FILES + '\ngroup = "customer"'), rows=rows)
    task = load_task(path)
    groups = [{row.group for row in task.split(name)} for name in ("train", "dev", "test")]
    assert [len(found) for found in groups] == [12, 4, 4]
    assert len(set.union(*groups)) == 20


def test_leakage_between_given_splits_is_noted(task_file: TaskFile) -> None:
    def rows(*numbers: int, label: int = 0) -> list[dict[str, object]]:
        return [{"text": f"t{i}", "label": f"l{i % 2 + label}", "who": i // 2} for i in numbers]

    change = given_splits(train=rows(*range(9)), dev=rows(9, 10), test=rows(0, 12, label=1))
    change = (change[0], change[1] + '\ngroup = "who"')
    assert load_task(task_file(change)).notes == (
        "Leakage: 1 input with different targets in more than one split.",
        "Leakage: 2 groups with rows in more than one split, so scores may flatter what was "
        "learned from train.",
    )


def test_a_label_only_in_test_is_in_the_label_set_and_noted(task_file: TaskFile) -> None:
    change = given_splits(
        train=labelled(0, 1),
        dev=labelled(2, 3, labels=2),
        test=[*labelled(4, 5), {"text": "t", "label": "new"}],
    )
    task = load_task(task_file(change))
    assert task.output.labels == ("l0", "l1", "l2", "new")
    assert task.notes == (
        "2 labels only in test, so nothing can learn them: l2, new. The task's labels include "
        "them, as answers are chosen among all known labels.",
    )


def test_too_few_rows_are_an_error_that_counts_them(task_file: TaskFile) -> None:
    assert sizes(load_task(task_file(rows=labelled(*range(5))))) == [1, 2, 2]
    assert refusal(task_file(rows=labelled(*range(4)))) == (
        "tickets.jsonl: fewer rows than the splits need: test has 1 row in 1 group and needs 2 "
        "(a group is each different input). The rows of tickets.jsonl were split with seed 0: "
        "1 train, 2 dev, 1 test. Expected at least 1 group in train and 2 each in dev and test. "
        "Add rows."
    )
    rows = [{**row, "who": i // 10} for i, row in enumerate(labelled(*range(30)))]
    assert refusal(task_file((FILES, FILES + '\ngroup = "who"'), rows=rows)).endswith(
        '(a group is group = "who"). The rows of tickets.jsonl were split with seed 0: 10 train, '
        "10 dev, 10 test. Expected at least 1 group in train and 2 each in dev and test. Add "
        "rows, or group by a finer column."
    )


def test_a_given_split_that_is_too_small_can_be_carved_instead(task_file: TaskFile) -> None:
    change = given_splits(train=labelled(*range(9)), dev=labelled(9), test=labelled(10, 11))
    assert refusal(task_file(change)) == (
        "train.jsonl, dev.jsonl, test.jsonl: fewer rows than the splits need: dev has 1 row in 1 "
        "group and needs 2 (a group is each different input). Expected at least 1 group in train "
        "and 2 each in dev and test. Add rows, or remove dev from [data] to have it drawn from "
        "train."
    )


def test_one_file_for_two_splits_says_where_the_rows_went(task_file: TaskFile) -> None:
    rows = labelled(*range(9))
    change = given_splits(train=rows, dev=labelled(9, 10), test=rows)
    assert refusal(task_file(change)) == (
        "train.jsonl, dev.jsonl, test.jsonl: fewer rows than the splits need: train has 0 rows in "
        "0 groups and needs 1 (a group is each different input). 9 rows of train also stood in "
        "test and were dropped from train. Expected at least 1 group in train and 2 each in dev "
        "and test. Add rows."
    )


def test_one_label_only_is_an_error(task_file: TaskFile) -> None:
    assert refusal(task_file(rows=labelled(*range(20), labels=1))) == (
        'tickets.jsonl: every row of train and dev has the label "l0" (column label). Expected at '
        "least two different labels. Add rows of other labels, or name another target column."
    )


def test_empty_data_is_an_error(task_file: TaskFile) -> None:
    said = refusal(task_file(rows=[]))
    assert said == "tickets.jsonl: there are no rows in it. Expected one per example. Add rows."


def extracted(*values: object) -> list[dict[str, object]]:
    return [{"text": f"t{i}", "label": value} for i, value in enumerate(values)]


def test_a_schema_is_inferred_and_orders_the_targets(task_file: TaskFile) -> None:
    values = [{"a": i, "b": None} if i % 2 else {"b": "x", "a": i} for i in range(20)]
    task = load_task(task_file(JSON, rows=extracted(*values)))
    assert task.scorer == "fields"
    assert task.output.schema is not None
    order = list(task.output.schema["properties"])
    rows = (*task.train, *task.dev, *task.test)
    assert all(list(row.target) == order for row in rows)
    assert sorted(row.target["a"] for row in rows) == list(range(20))
    assert task.notes[-1].startswith("The JSON schema was inferred from the targets of train: ")


def test_a_schema_too_narrow_for_test_is_inferred_from_all(task_file: TaskFile) -> None:
    change = given_splits(
        train=extracted({"a": 1}, {"a": 2}),
        dev=[{"text": "d", "label": {"a": 1}}, {"text": "e", "label": {"a": 1}}],
        test=[{"text": "x", "label": {"a": 1}}, {"text": "y", "label": {"a": None}}],
    )
    task = load_task(task_file(change, JSON))
    assert task.output.schema is not None
    assert task.output.schema["properties"] == {"a": {"type": ["integer", "null"]}}
    assert task.notes == (
        "The JSON schema was inferred from the targets of all splits: a. Those of train were not "
        "enough: test.jsonl:2 does not fit (at $.a, None is not of type 'integer').",
    )


def test_a_json_target_that_is_no_object_is_an_error(task_file: TaskFile) -> None:
    rows = extracted(*[{"a": 1}] * 6, [1, 2], *[{"a": 2}] * 6)
    assert refusal(task_file(JSON, rows=rows)) == (
        "tickets.jsonl:7: the target (column label) is [1, 2]. Expected a JSON object. Wrap it, "
        'such as {"items": […]}, or set another [output] type.'
    )


def test_a_target_that_does_not_fit_the_given_schema_is_an_error(task_file: TaskFile) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "years": {"items": {"type": "integer"}}},
        "required": ["name"],
    }
    Path("s.json").write_text(json.dumps(schema), encoding="utf-8")
    given = (JSON[0], JSON[1] + '\nschema = "s.json"')
    good = [{"years": [i], "name": "n"} for i in range(9)]
    task = load_task(task_file(given, rows=extracted(*good)))
    assert task.output.schema == schema
    assert list(task.train[0].target) == ["name", "years"]
    assert refusal(task_file(given, rows=extracted(*good, {"name": "n", "years": [1, "2"]}))) == (
        "tickets.jsonl:10: the target (column label) does not fit s.json: at $.years[1], '2' is "
        "not of type 'integer'. Correct the target, or the schema."
    )
    assert refusal(task_file(given, rows=extracted(*good, {"years": []}))) == (
        "tickets.jsonl:10: the target (column label) does not fit s.json: at $, 'name' is a "
        "required property. Correct the target, or the schema."
    )


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('name = "tickets"', 'name = "other"', True),
        ('input = "text"\ntarget = "label"', 'target = "label"\ninput = "text"', True),
        ('type = "label"', 'type = "label"\n[score]\ntolerance = 0.1', True),
        ('type = "label"', 'type = "label"\n[limits]\nminutes = 3', True),
        ('input = "text"', 'input = "{text}"', True),
        ('type = "label"', 'type = "label"\n[score]\nscorer = "exact"', False),
        ('type = "label"', 'type = "text"', False),
        ("Name the intent.", "Name the intent!", False),
        ('input = "text"', 'input = "{text}."', False),
        (FILES, FILES + "\nseed = 1", False),
    ],
)
def test_the_hash_is_that_of_what_can_change_an_answer(
    task_file: TaskFile, old: str, new: str, same: bool
) -> None:
    before = load_task(task_file()).hash
    assert (load_task(task_file((old, new))).hash == before) is same


def test_the_hash_sees_every_row(task_file: TaskFile) -> None:
    rows = [{"id": f"i{i}", **row} for i, row in enumerate(labelled(*range(12)))]
    hashes = {load_task(task_file(rows=rows)).hash}
    for index in range(len(rows)):
        for key, value in (("id", "new"), ("text", "new"), ("label", "l9")):
            changed = [*rows[:index], {**rows[index], key: value}, *rows[index + 1 :]]
            hashes.add(load_task(task_file(rows=changed)).hash)
    assert len(hashes) == 1 + 3 * len(rows)
    unused = [{**row, "note": "x"} for row in rows]
    assert load_task(task_file(rows=unused)).hash in hashes


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(steelyard.tasks.__path__)])
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    module = importlib.import_module(f"steelyard.tasks.{name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("folder_name", "target", "kind", "expected"),
    [
        ("banking77", "label", "label", [7495, 2498, 3079]),
        ("snips", "output", "json", [10207, 3402, 697]),
        ("resumes_synth", "output", "json", [1500, 500, 400]),
    ],
)
def test_real_data_loads(
    folder: Path, folder_name: str, target: str, kind: str, expected: list[int]
) -> None:
    source = DATA / folder_name
    if not source.exists():
        pytest.skip(f"the data set {folder_name} is not there")
    Path("task.toml").write_text(
        f'name = "real"\ninstruction = "Answer."\n[data]\ntrain = "{source}/train.jsonl"\n'
        f'test = "{source}/test.jsonl"\ninput = "text"\ntarget = "{target}"\n'
        f'[output]\ntype = "{kind}"\n',
        encoding="utf-8",
    )
    task = load_task("task.toml")
    assert sizes(task) == expected
    assert not {row.input for row in task.train} & {row.input for row in task.test}
    assert len(task.output.labels) == (77 if kind == "label" else 0)


def test_an_error_of_the_rows_is_a_data_error(task_file: TaskFile) -> None:
    path = task_file(rows=None)
    Path("tickets.jsonl").write_text('{"text": "a", "label": "b"}\n{"text"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"^tickets\.jsonl:2: not valid JSON"):
        load_task(path)

"""One data file → a task file, with every guess said aloud."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from steelyard.errors import DataError, InputError, TaskError
from steelyard.tasks import infer_task, load_data_file, load_task

DATA = Path(__file__).parents[3] / "shared" / "data"


def jsonl(rows: Sequence[object], name: str = "tickets.jsonl") -> Path:
    path = Path(name)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tickets(number: int = 40, labels: int = 4) -> list[dict[str, object]]:
    return [
        {
            "id": f"ticket-{i}",
            "url": f"https://example.org/tickets/with/a/long/address/{i}",
            "text": f"my card number {i} is lost",
            "channel": "mail",
            "intent": f"intent_{i % labels}",
        }
        for i in range(number)
    ]


def guessed_type(path: Path, target: str | None = None) -> str:
    text, _ = infer_task(path, target=target)
    return text.split('type = "')[1].split('"')[0]


def test_a_data_file_becomes_a_task_and_a_task_file(folder: Path) -> None:
    Path("tickets.csv").write_text(
        "id,text,intent\n" + "".join(f"{i},ticket {i} {{x}},i{i % 3}\n" for i in range(30)),
        encoding="utf-8",
    )
    task = load_data_file("tickets.csv", target="intent")
    assert Path("tickets.task.toml").read_text(encoding="utf-8") == (
        'name = "tickets"\n'
        'instruction = "Read the text and name its intent."\n'
        "\n"
        "[data]\n"
        'files = ["tickets.csv"]\n'
        'input = "text"\n'
        'target = "intent"\n'
        "\n"
        "[output]\n"
        'type = "label"\n'
        "\n"
        "[score]\n"
        'scorer = "label"\n'
    )
    assert task.notes == (
        'The input is the column "text": its texts are the longest, 13 characters on average.',
        'The output is label: "intent" has 3 different values in 30 rows, 1.0 words on average.',
        "The scorer is label, the usual one for label.",
        'The instruction is "Read the text and name its intent." Edit it: a better one helps every '
        "prompt.",
        "Written to tickets.task.toml.",
        "The rows of tickets.csv were split with seed 0: 18 train, 6 dev, 6 test.",
    )
    assert task.path == Path.cwd() / "tickets.task.toml"
    assert load_task("tickets.task.toml").hash == task.hash
    assert [p.name for p in sorted(Path().iterdir())] == ["tickets.csv", "tickets.task.toml"]


def test_the_same_again_is_fine_and_a_different_task_file_is_kept(folder: Path) -> None:
    path = jsonl(tickets())
    first = load_data_file(path)
    assert load_data_file(path) == first
    Path("tickets.task.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        load_data_file(path)
    assert str(caught.value) == (
        "tickets.task.toml: this task file is there already and differs from what tickets.jsonl "
        "would give. Expected to write it. Use that task file instead of the data file, or "
        "delete it."
    )
    assert Path("tickets.task.toml").read_text(encoding="utf-8") == "mine"


def test_nothing_is_written_when_the_rows_are_wrong(folder: Path) -> None:
    path = jsonl(tickets(40, labels=1))
    with pytest.raises(DataError, match="at least two different labels"):
        load_data_file(path)
    assert [p.name for p in Path().iterdir()] == ["tickets.jsonl"]


def test_a_folder_that_cannot_be_written_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    path = jsonl(tickets())
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(TaskError, match=r"^tickets\.task\.toml: the task file cannot be written "):
        load_data_file(path)


def test_the_input_is_the_longest_prose_and_not_the_longest_address(folder: Path) -> None:
    text, notes = infer_task(jsonl(tickets()), target="intent")
    assert 'input = "text"' in text
    assert notes[0].endswith("The model does not see: url, channel.")


def test_a_column_of_structures_is_not_an_input(folder: Path) -> None:
    rows = [{"text": f"a b {i}", "raw": '{"a": "a long text in it"}', "label": i} for i in range(9)]
    assert 'input = "text"' in infer_task(jsonl(rows))[0]


def test_texts_without_spaces_are_inputs_too(folder: Path) -> None:
    rows = [{"title": "a b", "frage": f"请问我的银行卡在哪里{i}", "label": i % 2} for i in range(9)]
    assert 'input = "frage"' in infer_task(jsonl(rows))[0]


def test_an_obvious_target_is_guessed_and_said(folder: Path) -> None:
    rows = [{"text": "a b", "Category": f"c{i % 2}", "answer_type": "x"} for i in range(9)]
    assert infer_task(jsonl(rows))[1][0] == 'The target is the column "Category", by its name.'


def test_without_an_obvious_target_the_columns_are_listed(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        infer_task(jsonl([{"text": "a", "kind": "b"}]))
    assert str(caught.value) == (
        "tickets.jsonl: no target was named, and no column is called target, label, intent, "
        "output, answer, category, class. Expected one of its columns: text, kind. "
        "Name it with --target COLUMN."
    )


def test_a_target_that_is_no_column_is_an_error_with_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        infer_task(jsonl([{"text": "a", "intent": "b"}]), target="intnt")
    assert str(caught.value) == (
        'tickets.jsonl: column "intnt" is not known. Known: text, intent. '
        'Did you mean "intent"? Name one of them.'
    )


def test_without_texts_there_is_no_input_to_guess(folder: Path) -> None:
    with pytest.raises(InputError, match=r"tickets\.jsonl: no column holds texts to be the input"):
        infer_task(jsonl([{"a": 1, "label": "x"}] * 3))


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (["yes", "no"] * 5, "label"),
        ([True, False] * 5, "label"),
        ([f"l{i % 77}" for i in range(1600)], "label"),
        ([f"l{i % 81}" for i in range(1600)], "text"),
        ([f"l{i % 20}" for i in range(40)], "label"),
        ([f"l{i % 20}" for i in range(39)], "text"),
        ([f"l{i % 21}" for i in range(42)], "text"),
        (["one two three four"] * 9 + ["x"], "label"),
        (["one two three four five"] * 10, "text"),
        ([{"a": 1}] * 9, "json"),
        ([[1]] * 9, "json"),
        (['{"a": 1}'] * 9, "json"),
        (['{"a": 1}'] * 8 + ["{"], "label"),
        ([{"a": 1}] * 8 + ["x"], "text"),
        ([{"a": 1}] * 8 + [None], "json"),
    ],
)
def test_the_output_type_follows_the_rule(folder: Path, targets: list[object], kind: str) -> None:
    rows = [{"text": f"some text {i}", "label": target} for i, target in enumerate(targets)]
    assert guessed_type(jsonl(rows)) == kind


def test_odd_names_survive_the_way_through_toml(folder: Path) -> None:
    odd = 'a "b" \\ \u007f\n'
    rows = [
        {odd: f"text {i}", "{brace}": "longer than the other", "the 'target'": f"l{i % 2}"}
        for i in range(12)
    ]
    task = load_data_file(jsonl(rows, 'my "data".jsonl'), target="the 'target'")
    assert task.name == 'my "data"'
    assert task.train[0].input.startswith("text ")


@pytest.mark.parametrize(
    ("name", "target", "kind"),
    [
        ("banking77", "label", "label"),
        ("snips", "output", "json"),
        ("resumes_synth", None, "json"),
        ("medquad", None, "text"),
    ],
)
def test_real_data_is_seen_for_what_it_is(name: str, target: str | None, kind: str) -> None:
    path = DATA / name / "test.jsonl"
    if not path.exists():
        pytest.skip(f"the data set {name} is not there")
    assert guessed_type(path, target) == kind

"""`[knowledge]`: its keys, lists of targets, unanswerable rows, evidence, times, and the hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steelyard.core import Knowledge
from steelyard.errors import DataError, TaskError
from steelyard.tasks import load_task
from steelyard.tasks.dates import iso_time
from steelyard.tasks.knowledge import read_history

TaskFile = Callable[..., Path]
TEXT = ('type = "label"', 'type = "text"')
UNKNOWN = "I do not know."


def rows(**more: Any) -> list[dict[str, Any]]:
    """Twenty rows; `more` gives each its further columns, functions of its number."""
    return [
        {"text": f"question {n}", "label": f"answer {n}"} | {k: f(n) for k, f in more.items()}
        for n in range(20)
    ]


def every(task: Any) -> list[Any]:
    return sorted((*task.train, *task.dev, *task.test), key=lambda e: int(e.input.split()[1]))


def message(path: Path) -> str:
    with pytest.raises((TaskError, DataError)) as caught:
        load_task(path)
    return str(caught.value)


# ---------------------------------------------------------------- keys


def test_a_task_without_the_section_knows_nothing(task_file):
    assert load_task(task_file()).knowledge == Knowledge()


def test_each_key_arrives(task_file):
    Path("docs").mkdir()
    Path("faq.md").write_text("x")
    Path("orders.jsonl").write_text('{"user": "ann", "text": "a kettle", "time": "2026-01-01"}\n')
    knowledge = (
        '\n[knowledge]\ndocuments = ["docs", "faq.md"]\nevidence = "source"\n'
        f'history = "orders.jsonl"\nabstain = " {UNKNOWN} "\ncite = true\n'
    )
    users = ('target = "label"', 'target = "label"\nuser = "who"')
    data = rows(source=lambda n: "faq.md", who=lambda n: f"u{n}")
    task = load_task(task_file(TEXT, users, rows=data, add=knowledge))
    assert task.knowledge == Knowledge(
        (Path("docs"), Path("faq.md")), Path("orders.jsonl"), UNKNOWN, True
    )


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            'documants = ["faq.md"]',
            '[knowledge] key "documants" is not known. Known: documents, evidence, history, '
            'abstain, cite, paraphrase, copies. Did you mean "documents"?',
        ),
        (
            'documents = ["fag.md"]',
            '[knowledge] documents names "fag.md", and there is no such file or folder. Expected a '
            'file or folder, its path relative to ./. Correct the path. Did you mean "faq.md"?',
        ),
        ("documents = []", "[knowledge] documents is []. Expected a list of texts such as"),
        ('evidence = "label"', "[knowledge] evidence is about documents, and there are none."),
        ("cite = true", "[knowledge] cite is about documents, and there are none. Add documents."),
        ('documents = ["faq.md"]\ncite = "yes"', '[knowledge] cite is "yes". Expected true or'),
        (
            'documents = ["faq.md"]\nevidence = "lable"',
            '[knowledge] evidence names the column "lable", and tickets.jsonl has none of that',
        ),
        ('abstain = ""', '[knowledge] abstain is "". Expected a sentence such as "I do not know."'),
        (
            'history = "faq.md"',
            "[knowledge] history is looked up by who asks, and [data] names no user.",
        ),
    ],
)
def test_a_wrong_key_is_an_error_with_expectation_and_remedy(task_file, section, expected):
    Path("faq.md").write_text("x")
    assert expected in message(task_file(TEXT, add=f"\n[knowledge]\n{section}\n"))


@pytest.mark.parametrize("key", [f'abstain = "{UNKNOWN}"', "cite = true"])
def test_what_is_about_texts_is_refused_for_labels(task_file, key):
    Path("faq.md").write_text("x")
    said = message(task_file(add=f'\n[knowledge]\ndocuments = ["faq.md"]\n{key}\n'))
    assert f'{key.split()[0]} is for type = "text", and [output] type is "label"' in said


# ---------------------------------------------------------------- targets


def test_a_list_of_targets_is_the_first_and_what_is_as_right(task_file):
    data = rows(label=lambda n: ["23 years", "23", "23 years"] if n == 3 else f"answer {n}")
    found = every(load_task(task_file(TEXT, rows=data)))
    assert (found[3].target, found[3].also) == ("23 years", ("23",))
    assert (found[4].target, found[4].also) == ("answer 4", ())


@pytest.mark.parametrize(
    ("cell", "problem"),
    [([], "is empty"), ([["a"]], 'is ["a"]'), ([{"a": 1}], 'is {"a": 1}'), (["x", None], "empty")],
)
def test_a_list_that_is_no_list_of_texts_is_an_error_with_its_line(task_file, cell, problem):
    said = message(task_file(TEXT, rows=rows(label=lambda n: cell if n == 3 else f"answer {n}")))
    assert said.startswith("tickets.jsonl:4: the target (column label)")
    assert problem in said


def test_labels_have_one_target_each(task_file):
    said = message(task_file(rows=rows(label=lambda n: ["a", "b"])))
    assert 'Expected a text, as [output] type is "label"' in said


def test_empty_targets_and_the_sentence_itself_are_what_nothing_answers(task_file):
    cells: list[Any] = [None, "", "  ", [], [""], "i do not know", UNKNOWN, "known"]
    data = rows(label=lambda n: cells[n] if n < len(cells) else f"answer {n}")
    known = f'\n[knowledge]\nabstain = "{UNKNOWN}"\n'
    found = every(load_task(task_file(TEXT, rows=data, add=known)))
    assert [row.target for row in found[: len(cells)]] == [*[UNKNOWN] * 7, "known"]
    assert all(row.also == () for row in found)


def test_without_the_sentence_an_empty_target_is_an_error(task_file):
    data = rows(label=lambda n: None if n == 0 else f"answer {n}")
    assert message(task_file(TEXT, rows=data)).startswith("tickets.jsonl:1: the target")


# ---------------------------------------------------------------- evidence and times


def test_evidence_is_one_id_or_a_list_and_no_metadata(task_file):
    Path("faq.md").write_text("x")
    cells: list[Any] = ["a", ["a", "b", "a"], [], None, "", 7]
    data = rows(source=lambda n: cells[n] if n < len(cells) else "a", other=lambda n: n)
    known = '\n[knowledge]\ndocuments = ["faq.md"]\nevidence = "source"\n'
    found = every(load_task(task_file(TEXT, rows=data, add=known)))
    assert [row.evidence for row in found[:6]] == [("a",), ("a", "b"), (), (), (), ("7",)]
    assert all(set(row.metadata) == {"other"} for row in found)


def test_times_are_spelt_so_that_text_compares_as_time():
    assert iso_time(" 2026-05-01 ") == "2026-05-01"
    assert iso_time("2026-05-01T12:00:00.5+02:00") == "2026-05-01T10:00:00"
    assert iso_time("2026-05-01 12:00") == "2026-05-01T12:00:00"
    for wrong in ("", "yesterday", "2026-13-01", "1700000000", "01/05/2026"):
        with pytest.raises(ValueError, match=r"."):
            iso_time(wrong)


TIMED = ('target = "label"', 'target = "label"\nuser = "who"\ntime = "when"')


def test_where_it_decides_what_is_known_a_time_must_be_one(task_file):
    data = rows(who=lambda n: "ann", when=lambda n: "2026-05-01T12:00:00+02:00" if n else None)
    found = every(load_task(task_file(TEXT, TIMED, rows=data)))
    assert [row.time for row in found[:2]] == [None, "2026-05-01T10:00:00"]
    said = message(task_file(TEXT, TIMED, rows=rows(who=lambda n: "a", when=lambda n: "May")))
    assert said.startswith('tickets.jsonl:1: the time (column when) is "May". Expected ISO 8601')
    only_time = ('target = "label"', 'target = "label"\ntime = "when"')
    found = every(load_task(task_file(TEXT, only_time, rows=rows(when=lambda n: "May"))))
    assert found[0].time == "May"


# ---------------------------------------------------------------- history


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "ann", "text": "x"}', 'h.jsonl:1: the history has no column "user"'),
        ('{"user": "ann", "txt": "x"}', 'no column "text"'),
        ('{"user": "ann", "text": "x"}\n{"user": "", "text": "x"}', "h.jsonl:2: the record's user"),
        ('{"user": "ann", "text": " "}', "h.jsonl:1: the record's text is empty"),
        ('{"user": "ann", "text": "x", "time": "May"}', 'the time (column time) is "May"'),
    ],
)
def test_a_wrong_record_is_an_error_with_its_line(folder, text, expected):
    Path("h.jsonl").write_text(text)
    with pytest.raises(DataError) as caught:
        read_history(Path("h.jsonl"))
    assert expected in str(caught.value)


def test_records_are_numbered_and_may_have_no_time(folder):
    Path("h.csv").write_text("user,text,time\nann,a kettle,2026-05-01\n7,a cup,\n")
    one, two = read_history(Path("h.csv"))
    assert (one.id, one.user, one.text, one.time) == ("record-1", "ann", "a kettle", "2026-05-01")
    assert (two.id, two.user, two.time) == ("record-2", "7", None)


# ---------------------------------------------------------------- the hash


def test_the_hash_changes_with_every_byte_of_what_is_known_and_with_nothing_else(task_file):
    Path("docs/deep").mkdir(parents=True)
    Path("docs/deep/a.md").write_text("one")
    Path("orders.jsonl").write_text('{"user": "ann", "text": "a"}\n')
    users = ('target = "label"', 'target = "label"\nuser = "who"')
    data = rows(who=lambda n: f"u{n}", source=lambda n: "a")
    base = '\n[knowledge]\ndocuments = ["docs"]\nhistory = "orders.jsonl"\n'

    def hashed(add: str = base, data: Any = data) -> str:
        return load_task(task_file(TEXT, users, rows=data, add=add)).hash

    first = hashed()
    assert hashed() == first
    seen = {first}

    def changed(value: str) -> None:
        assert value not in seen
        seen.add(value)

    Path("docs/deep/a.md").write_text("two")
    changed(hashed())
    Path("docs/deep/a.md").rename("docs/deep/b.md")
    changed(hashed())
    Path("docs/new.md").write_text("")
    changed(hashed())
    Path("orders.jsonl").write_text('{"user": "bob", "text": "a"}\n')
    changed(hashed())
    changed(hashed(base + f'abstain = "{UNKNOWN}"\n'))
    changed(hashed(base + "cite = true\n"))
    changed(hashed(base + 'evidence = "source"\n'))
    changed(hashed(data=rows(who=lambda n: "ann", source=lambda n: "a")))
    more = rows(who=lambda n: f"u{n}", source=lambda n: "a", label=lambda n: [f"answer {n}", "b"])
    changed(hashed(data=more))


def test_a_link_that_goes_around_and_a_file_that_cannot_be_read_stop_no_task(task_file):
    Path("docs").mkdir()
    Path("docs/around").symlink_to(Path("docs").absolute())
    Path("docs/nowhere").symlink_to("missing.md")
    Path("docs/a.md").write_text("x")
    add = '\n[knowledge]\ndocuments = ["docs"]\n'
    assert load_task(task_file(TEXT, rows=rows(), add=add)).knowledge.documents == (Path("docs"),)

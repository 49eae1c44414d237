"""The supervisor, with children that hang, die, flood and talk nonsense: reading goes on."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from made_files import found

from steelyard.errors import WorkError
from steelyard.knowledge.reading import Document, Found, ReadingLimits, Unreadable, read_files

# Does what the name of the file says; every other file is a document with its name as the text.
CHILD = """
import json, os, signal, sys, time
def say(message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()
say({"ready": True})
for line in sys.stdin:
    name = json.loads(line)["id"]
    document = [name, "t", name, "text", [], [], None, None, None, None, {}]
    if name == "hang":
        time.sleep(600)
    if name == "exit":
        sys.exit("broken library")
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "nonsense":
        print("warning: this is no JSON", flush=True)
    if name == "list":
        say([1])
    if name == "fields":
        say({"documents": [[1]]})
    if name == "over":
        say({"end": "too much", "over": True})
        sys.exit(1)
    while name == "flood":
        sys.stdout.write("x" * 100_000)
    if name == "half":
        say({"documents": [document]})
        sys.exit(7)
    if name == "slow":
        for _ in range(4):
            time.sleep(0.6)
            say({"documents": [document]})
    say({"documents": [document]})
    say({"end": "not all of it" if name == "partly" else None})
"""
COMMAND = (sys.executable, "-c", CHILD)
LIMITS = ReadingLimits(seconds=2.0, characters=100_000)


def made(folder: Path, *names: str) -> list[Found]:
    for name in names:
        (folder / name).write_text(name)
    return [found(folder / name) for name in names]


def outcomes(files: list[Found]) -> list[tuple[str, list[str], str | None]]:
    """For each file, in order: its name, the texts of its documents, and what is missing."""
    result = []
    pairs = read_files(files, LIMITS, command=COMMAND)
    for file, parts in itertools.groupby(pairs, key=lambda pair: pair[0]):
        texts: list[str] = []
        reason = None
        for _, part in parts:
            assert reason is None, "nothing comes after the reason"
            if isinstance(part, Unreadable):
                assert part.path == file.path
                reason = part.reason
            else:
                texts += [document.text for document in part]
        result.append((file.path.name, texts, reason))
    return result


@pytest.mark.parametrize(
    ("name", "texts", "says"),
    [
        ("hang", [], "took longer than 2 seconds"),
        ("exit", [], "died on it (exit code 1, saying: broken library)"),
        ("killed", [], "died on it (signal SIGKILL)"),
        ("flood", [], "more than the 100,000 characters"),
        ("nonsense", [], "answered nonsense"),
        ("list", [], "answered nonsense"),
        ("fields", [], "answered nonsense"),
        ("over", [], "too much"),
        ("half", ["half"], "died on it (exit code 7)"),
        ("partly", ["partly"], "not all of it"),
    ],
)
def test_a_child_that_fails_costs_the_file_it_was_at_and_no_other(tmp_path, name, texts, says):
    a, bad, b, c = outcomes(made(tmp_path, "a", name, "b", "c"))
    assert (a, b, c) == (("a", ["a"], None), ("b", ["b"], None), ("c", ["c"], None))
    assert bad[:2] == (name, texts)
    assert says in str(bad[2])


def test_files_that_fail_one_after_the_other_are_each_told(tmp_path):
    names = ["exit", "killed", "over", "half"]
    assert [(name, bool(why)) for name, _, why in outcomes(made(tmp_path, *names))] == [
        (name, True) for name in names
    ]


def test_the_time_runs_anew_with_every_batch(tmp_path):
    assert outcomes(made(tmp_path, "slow")) == [("slow", ["slow"] * 5, None)]


def test_what_the_caller_takes_does_not_count_as_time_of_the_child(tmp_path):
    texts = []
    for _, part in read_files(made(tmp_path, "slow"), LIMITS, command=COMMAND):
        time.sleep(0.5)
        assert isinstance(part, list)
        texts += [document.text for document in part]
    assert texts == ["slow"] * 5


def test_no_files_need_no_child():
    assert list(read_files([], command=["/no/such/program"])) == []


def test_a_child_that_does_not_start_is_no_fault_of_a_file(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such module')"]
    with pytest.raises(WorkError, match=r"does not start.*no such module"):
        list(read_files(made(tmp_path, "a"), command=command))


def test_a_caller_who_stops_leaves_no_child_behind(tmp_path):
    log = tmp_path / "pid"
    command = [
        sys.executable,
        "-c",
        f"import os; open({str(log)!r}, 'w').write(str(os.getpid()))\n{CHILD}",
    ]
    reading = read_files(made(tmp_path, "a", "hang"), LIMITS, command=command)
    next(reading)
    reading.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), signal.SIGTERM)


def test_documents_come_while_files_are_still_being_named(tmp_path):
    files = made(tmp_path, "a", "b", "c", "d")
    asked: list[str] = []

    def named():
        for file in files:
            asked.append(file.path.name)
            yield file

    reading = read_files(named(), LIMITS, command=COMMAND)
    first, documents = next(reading)
    assert first == files[0]
    assert isinstance(documents, list)
    assert isinstance(documents[0], Document)
    assert asked == ["a", "b"]  # one ahead, and no more
    reading.close()

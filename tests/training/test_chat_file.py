"""Files of chats and of preferences: what is learned from them, and which lines are refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import DataError
from steelyard.models import Message
from steelyard.training import chat_file
from steelyard.training.chat_file import MOST_TOLD, check_chat_file, read_chat_file


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "rows.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def chat(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(turns), **more}


def pair(good: str, bad: str, question: str = "hi") -> dict[str, Any]:
    return {
        "input": {"messages": [turn("user", question)], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [turn("assistant", good)],
        "non_preferred_output": [turn("assistant", bad)],
    }


GOOD = chat(turn("user", "a"), turn("assistant", "b"))


def test_a_chat_is_a_row_for_each_answer_that_has_no_weight_of_nought(tmp_path):
    line = chat(
        turn("developer", "Be short."),
        turn("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        turn("assistant", "one", weight=0),
        turn("user", "c", name="ann"),
        turn("assistant", "two", weight=1),
    )
    found = read_chat_file(write(tmp_path, line, "", GOOD))
    assert (found.form, found.num_lines) == ("chats", 2)
    first, second = found.rows
    assert first.prompt == (
        Message("system", "Be short."),
        Message("user", "ab"),
        Message("assistant", "one"),
        Message("user", "c"),
    )
    assert (first.target, second.target) == ("two", "b")
    assert second.prompt == (Message("user", "a"),)


def test_lines_that_ask_the_same_are_of_one_group(tmp_path):
    other = chat(turn("user", "a"), turn("assistant", "c"))
    third = chat(turn("user", "z"), turn("assistant", "c"))
    groups = [row.group for row in read_chat_file(write(tmp_path, GOOD, other, third)).rows]
    assert groups[0] == groups[1] != groups[2]


def test_a_preference_is_what_is_preferred_and_what_it_is_preferred_to(tmp_path):
    [row] = read_chat_file(write(tmp_path, pair("yes", "no"))).rows
    assert (row.prompt, row.target, row.rejected) == ((Message("user", "hi"),), "yes", "no")
    assert row.stage == "preferences"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "it is no JSON"),
        ("[1]", "it is no JSON object"),
        ("[" * 100_000, "it is nested too deeply"),
        ({"prompt": "a", "completion": "b"}, 'expected {"messages"'),
        (chat(turn("user", "a")), 'the last one must be of role "assistant"'),
        (chat(turn("assistant", "a")), 'expected one of role "user"'),
        (chat(), "the last one must be"),
        ({"messages": "a"}, "messages: expected a list"),
        (chat("a"), r"messages\[0\]: expected an object"),
        (chat(turn("tool", "a")), r'messages\[0\]: its role is "tool"'),
        (chat({"content": "a"}), r"messages\[0\]: its role is missing"),
        (chat(turn("user", None), turn("assistant", "b")), r"messages\[0\]: its content is no"),
        (chat(turn("user", "a"), turn("assistant", " ")), r"messages\[1\]: what the assistant"),
        (chat(turn("user", "a"), turn("assistant", "b", weight=2)), "neither 0 nor 1"),
        (chat(turn("user", "a"), turn("assistant", "b", weight=0)), "every one of the assistant"),
        (chat(turn("user", "a"), turn("assistant", "", tool_calls=[1])), "calls of tools"),
        (chat(turn("user", [{"type": "image_url"}]), turn("assistant", "b")), '"image_url" is not'),
        (chat(turn("user", "a"), turn("assistant", "b"), tools=[{}]), '"tools": tools are not'),
        (chat(turn("user", "a"), turn("assistant", "b"), weight=1), '"weight" is not known'),
        (pair("same", "same"), "are the same"),
        ({**pair("a", "b"), "preferred_output": []}, "preferred_output: expected one message"),
        ({**pair("a", "b"), "non_preferred_output": None}, "non_preferred_output: expected a list"),
        ({**pair("a", "b"), "input": {}}, "input: expected"),
        ({**pair("a", "b"), "input": chat(turn("assistant", "a"))}, 'must be of role "user"'),
    ],
)
def test_a_line_that_cannot_be_learned_is_refused_by_its_number(tmp_path, line, said):
    good = pair("a", "b") if isinstance(line, dict) and "input" in line else GOOD
    with pytest.raises(DataError, match=f"1 of 2 lines cannot be learned from. line 3: .*{said}"):
        read_chat_file(write(tmp_path, good, "", line))


def test_lines_of_two_forms_are_no_file(tmp_path):
    with pytest.raises(DataError, match="line 2: preferences among chats"):
        read_chat_file(write(tmp_path, GOOD, pair("a", "b")))


def test_bytes_that_are_no_text_are_refused_and_a_mark_of_their_order_is_not(tmp_path):
    path = tmp_path / "rows.jsonl"
    line = json.dumps(GOOD).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n")
    assert len(read_chat_file(path).rows) == 1
    path.write_bytes(line + b"\n\xff\xfe\n")
    with pytest.raises(DataError, match="line 2: it is not UTF-8"):
        read_chat_file(path)


def test_of_many_bad_lines_some_are_told_and_all_are_counted(tmp_path):
    with pytest.raises(DataError) as caught:
        read_chat_file(write(tmp_path, *["{"] * 30))
    assert str(caught.value).startswith("30 of 30 lines")
    assert str(caught.value).count("line ") == MOST_TOLD
    assert str(caught.value).endswith("and 20 more")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_lines_is_refused(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="there is no line in it"):
        read_chat_file(path)


# ---------------------------------------------------------------- checked as it comes


def peak_bytes(look: Callable[[Path], Any], path: Path) -> int:
    tracemalloc.start()
    try:
        look(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_checking_a_file_takes_no_more_memory_however_long_it_is(tmp_path):
    lines = [chat(turn("user", f"{n:06} {'a' * 500}"), turn("assistant", "b")) for n in range(4000)]
    for part in (lines[:200], lines):  # 118 kB and 2.4 MB
        assert peak_bytes(check_chat_file, write(tmp_path, *part)) < 200_000
    assert peak_bytes(read_chat_file, write(tmp_path, *lines)) > 2_000_000


def test_a_file_that_is_checked_is_refused_as_one_that_is_read(tmp_path):
    path = write(tmp_path, GOOD, "", "{", GOOD, pair("a", "b"))
    said = []
    for look in (read_chat_file, check_chat_file):
        with pytest.raises(DataError) as caught:
            look(path)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("2 of 4 lines cannot be learned from. line 3: it is no JSON")
    assert "; line 5: preferences among chats" in said[0]
    assert check_chat_file(write(tmp_path, GOOD)) is None


def test_a_line_that_is_too_long_is_refused_and_those_after_it_keep_their_numbers(
    tmp_path, monkeypatch
):
    longest = len(json.dumps(GOOD))
    monkeypatch.setattr(chat_file, "MOST_LINE_BYTES", longest)
    for long in (" " * 5 * longest, "x" * (longest + 1), "x" * 3 * (longest + 1)):
        with pytest.raises(DataError) as caught:
            check_chat_file(write(tmp_path, GOOD, long, GOOD, "{"))
        assert str(caught.value) == (
            f"2 of 4 lines cannot be learned from. line 2: it is longer than {longest} bytes; "
            "line 4: it is no JSON (Expecting property name enclosed in double quotes "
            "at character 2)"
        )
    check_chat_file(write(tmp_path, GOOD, GOOD))  # just as long


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "input", "preferred_output", "weight"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.lists(JSONS, min_size=1, max_size=3))
def test_whatever_json_is_in_it_a_file_is_read_or_refused(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    told = ""
    try:
        rows = read_chat_file(path).rows
    except DataError as error:
        rows, told = (), str(error)
    assert rows or "line" in told

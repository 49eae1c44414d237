"""JSONL files as the hosted fine-tuning API takes them, and the rows that are learned from them.

    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
        → a row of prompt (user "a") and target "b"; one for each assistant turn without weight 0

    {"input": {"messages": [user "a"]}, "preferred_output": [assistant "b"],
     "non_preferred_output": [assistant "c"]}
        → a row of prompt (user "a"), target "b" and rejected "c"

Source: the supervised and preference formats of OpenAI's fine-tuning guides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from steelyard.core import Json, digest
from steelyard.errors import DataError
from steelyard.models import Message, Prompt
from steelyard.training.job import TrainingRow

Form = Literal["chats", "preferences"]
ROLES = ("system", "developer", "user", "assistant")
MOST_TOLD = 10  # bad lines that an error describes; the others are counted
MOST_LINE_BYTES = 4_000_000  # a million tokens of text, more than any context. Source: ours
KEYS: dict[Form, tuple[str, ...]] = {
    "chats": ("messages", "tools", "parallel_tool_calls", "functions"),
    "preferences": ("input", "preferred_output", "non_preferred_output"),
}
EXPECTED: dict[Form, str] = {
    "chats": '{"messages": [{"role": "user", …}, {"role": "assistant", …}]}',
    "preferences": '{"input": {"messages": […]}, "preferred_output": […], '
    '"non_preferred_output": […]}',
}


@dataclass(frozen=True, slots=True)
class ChatFile:
    """What a file holds: lines of one form, as rows."""

    form: Form
    rows: tuple[TrainingRow, ...]
    num_lines: int


def read_chat_file(path: Path) -> ChatFile:
    """All rows of a file.

    Raises:
        DataError: it holds none, or lines that are none, by their numbers.
    """
    form: Form = "chats"
    rows: list[TrainingRow] = []
    num_lines = 0
    for own, learned in _lines(path):
        form, num_lines = own, num_lines + 1
        rows += learned
    return ChatFile(form, tuple(rows), num_lines)


def check_chat_file(path: Path) -> None:
    """Read a file of any size as it will be learned from, with one line of it in memory at a time.

    Raises:
        DataError: it holds no lines, or lines that are none, by their numbers.
    """
    for _ in _lines(path):
        pass


def _lines(path: Path) -> Iterator[tuple[Form, list[TrainingRow]]]:
    """The form and the rows of each line that has some; what is wrong is told after the last.

    Raises:
        DataError: there is no line, or one that is none.
    """
    wrong: list[str] = []
    form: Form | None = None
    num_lines = num_wrong = 0
    with path.open("rb") as file:
        for number, line in _numbered(file):
            if line is not None and not line.strip():
                continue
            num_lines += 1
            try:
                parsed = _parsed(line)
                own = _form_of(parsed)
                form = form or own
                if own != form:
                    raise DataError(f"{own} among {form}; a file holds lines of one form")
                rows = list(_READERS[own](parsed))
            except DataError as error:
                num_wrong += 1
                if len(wrong) < MOST_TOLD:
                    wrong.append(f"line {number}: {error}")
            else:
                yield own, rows
    if num_wrong:
        more = f"; and {num_wrong - len(wrong)} more" if num_wrong > len(wrong) else ""
        raise DataError(
            f"{num_wrong} of {num_lines} lines cannot be learned from. {'; '.join(wrong)}{more}"
        )
    if form is None:
        raise DataError(f"there is no line in it. Expected lines such as {EXPECTED['chats']}")


def _numbered(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines by their numbers, from 1; None in place of one that is too long to be held."""
    number = 0
    while line := file.readline(MOST_LINE_BYTES + 1):
        number += 1
        is_long = part = len(line) > MOST_LINE_BYTES and not line.endswith(b"\n")
        while part:
            rest = file.readline(MOST_LINE_BYTES + 1)
            part = len(rest) > MOST_LINE_BYTES and not rest.endswith(b"\n")
        yield number, None if is_long else line


def _parsed(line: bytes | None) -> dict[str, Json]:
    if line is None:
        raise DataError(f"it is longer than {MOST_LINE_BYTES:,} bytes")
    try:
        parsed = json.loads(line.decode("utf-8-sig").strip())
    except UnicodeDecodeError:
        raise DataError("it is not UTF-8") from None
    except RecursionError:
        raise DataError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DataError(f"it is no JSON ({error.msg} at character {error.pos + 1})") from None
    except ValueError:  # a number of thousands of digits
        raise DataError("it is no JSON that can be read") from None
    if not isinstance(parsed, dict):
        raise DataError("it is no JSON object")
    return parsed


def _form_of(line: dict[str, Json]) -> Form:
    for form, keys in KEYS.items():
        if keys[0] in line:
            _check_keys(line, keys)
            return form
    raise DataError(f"expected {EXPECTED['chats']} or {EXPECTED['preferences']}")


def _check_keys(found: dict[str, Json], known: tuple[str, ...]) -> None:
    for key, value in found.items():
        if key not in known:
            raise DataError(f'"{key[:40]}" is not known. Known: {", ".join(known)}')
        if key in ("tools", "functions") and value:
            raise DataError(f'"{key}": tools are not served, so they are not learned')


def _chat(line: dict[str, Json]) -> Iterator[TrainingRow]:
    """A row for each assistant turn that is to be learned, after all that stands before it."""
    turns = _turns(line["messages"], "messages")
    messages = tuple(message for message, _ in turns)
    if not messages or messages[-1].role != "assistant":
        raise DataError('messages: the last one must be of role "assistant"')
    if all(message.role != "user" for message in messages):
        raise DataError('messages: expected one of role "user"')
    group = _group(messages[: next(i for i, m in enumerate(messages) if m.role == "assistant")])
    learned = [i for i, (m, weight) in enumerate(turns) if m.role == "assistant" and weight]
    if not learned:
        raise DataError("messages: every one of the assistant has weight 0")
    for place in learned:
        yield TrainingRow(messages[:place], messages[place].content, group)


def _pair(line: dict[str, Json]) -> Iterator[TrainingRow]:
    """One row: what is preferred, and what it is preferred to."""
    asked = line["input"]
    if not isinstance(asked, dict) or "messages" not in asked:
        raise DataError('input: expected {"messages": […]}')
    _check_keys(asked, KEYS["chats"])
    prompt = tuple(message for message, _ in _turns(asked["messages"], "input.messages"))
    if not prompt or prompt[-1].role != "user":
        raise DataError('input.messages: the last one must be of role "user"')
    chosen, rejected = (
        _side(line.get(name), name) for name in ("preferred_output", "non_preferred_output")
    )
    if chosen == rejected:
        raise DataError("preferred_output and non_preferred_output are the same")
    yield TrainingRow(prompt, chosen, _group(prompt), "preferences", rejected=rejected)


_READERS = {"chats": _chat, "preferences": _pair}


def _side(found: Json, name: str) -> str:
    turns = _turns(found, name)
    if len(turns) != 1 or turns[0][0].role != "assistant":
        raise DataError(f'{name}: expected one message of role "assistant"')
    return turns[0][0].content


def _turns(found: Json, where: str) -> list[tuple[Message, bool]]:
    """The messages of a list, each with whether it is to be learned."""
    if not isinstance(found, list):
        raise DataError(f"{where}: expected a list of messages")
    return [_turn(one, f"{where}[{place}]") for place, one in enumerate(found)]


def _turn(found: Json, where: str) -> tuple[Message, bool]:
    if not isinstance(found, dict):
        raise DataError(f"{where}: expected an object with role and content")
    role = found.get("role")
    if role not in ROLES:
        shown = "missing" if role is None else f'"{str(role)[:20]}"'
        raise DataError(f"{where}: its role is {shown}. Known: {', '.join(ROLES)}")
    if found.get("tool_calls") or found.get("function_call"):
        raise DataError(f"{where}: calls of tools are not served, so they are not learned")
    content = _content(found.get("content"), where)
    if role == "assistant" and not content.strip():
        raise DataError(f"{where}: what the assistant says is empty")
    weight = found.get("weight", 1)
    if weight not in (0, 1):
        raise DataError(f"{where}: its weight is neither 0 nor 1")
    spoken: Any = "system" if role == "developer" else role
    return Message(spoken, content), bool(weight)


def _content(found: Json, where: str) -> str:
    if isinstance(found, str):
        return found
    if not isinstance(found, list):
        raise DataError(f"{where}: its content is no text")
    texts = []
    for part in found:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise DataError(f'{where}: content of type "{str(kind)[:20]}" is not understood')
        texts.append(part["text"])
    return "".join(texts)


def _group(prompt: Prompt) -> str:
    """Lines that ask the same are held out together."""
    return digest([[message.role, message.content] for message in prompt])[:16]


def held_out_as(rows: tuple[TrainingRow, ...], held_out: bool | None) -> list[TrainingRow]:
    """The rows, all of them held out, none, or as the job draws them."""
    return [replace(row, held_out=held_out) for row in rows]

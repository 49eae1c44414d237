"""Retention files: what a model could do before it was trained, and should still be able to.

question, choices, answer   multiple choice; `answer` is the number of the right one, from 0
prompt, answer              a text, and the one word or phrase that ends it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json
from steelyard.errors import DataError
from steelyard.tasks.rows import RawRow, read_rows
from steelyard.tasks.wording import shown

FORMS = "question, choices (a list) and answer (its number, from 0), or prompt and answer (a text)"


@dataclass(frozen=True, slots=True)
class RetentionItem:
    """A text and how it may end. With one ending, that one must come; else `answer` is right."""

    text: str
    endings: tuple[str, ...]
    answer: int = 0


def read_retention(file: Path) -> list[RetentionItem]:
    """The rows of a retention file.

    Raises:
        DataError: the file or one of its rows cannot be read as one, or there is only one row.
    """
    items = [_item(row) for row in read_rows(file)]
    if len(items) < 2:
        raise DataError(f"{file}: one row tells nothing. Expected at least 2 rows. Add some.")
    return items


def _item(row: RawRow) -> RetentionItem:
    question, prompt = row.values.get("question"), row.values.get("prompt")
    choices, answer = row.values.get("choices"), row.values.get("answer")
    if _is_text(question) and isinstance(choices, list):
        told = len(choices) > 1 and all(map(_is_text, choices))
        if told and type(answer) is int and 0 <= answer < len(choices):
            return RetentionItem(str(question), tuple(choices), answer)
    elif _is_text(prompt) and _is_text(answer):
        return RetentionItem(str(prompt), (str(answer).strip(),))
    raise DataError(
        f"{row.where}: {shown(dict(row.values))} is no row of a retention file. Expected {FORMS}. "
        "Correct it."
    )


def _is_text(value: Json) -> bool:
    return isinstance(value, str) and bool(value.strip())

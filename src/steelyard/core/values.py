"""What all nouns are written with: JSON, its hash, splits, tokens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
Json = Any  # what json.loads returns


def digest(value: Json) -> str:
    """The hex SHA-256 of a JSON value in its one canonical spelling.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def cut(text: str, width: int = 60) -> str:
    """A text on one line of at most so many characters.

    >>> cut("Name the intent of the ticket.", width=10)
    'Name the …'
    """
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. `cached_tokens` of the prompt were computed for an earlier one.

    `estimated`: a server told no numbers that can be true, and they were counted here.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False

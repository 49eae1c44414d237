"""Something that answers, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from steelyard.core.recipe import Recipe
from steelyard.core.task import Example
from steelyard.core.values import Json, Usage


@dataclass(frozen=True, slots=True)
class Query:
    """One input, who asks it and when (ISO 8601).

    `example` is the row that it comes from, which is never shown to itself. `evidence` are the
    documents that hold the answer: only diagnostic recipes look at them.
    """

    input: str
    user: str | None = None
    time: str | None = None
    example: str | None = None
    evidence: tuple[str, ...] = ()

    @classmethod
    def of(cls, example: Example) -> Query:
        """What is asked of a System when it is measured on an example."""
        return cls(example.input, example.user, example.time, example.id, example.evidence)


@dataclass(frozen=True, slots=True)
class Source:
    """A passage as it stood in the prompt, perhaps with fewer of its sentences.

    An answer's first source is the one that it cites as [1]. `also` are further documents that
    say the same.
    """

    passage: str
    document: str
    text: str
    also: tuple[str, ...] = ()

    @property
    def documents(self) -> frozenset[str]:
        """All documents that it comes from."""
        return frozenset((self.document, *self.also))


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a long answer. `sources` are the numbers of those that it was shown, from 1 on."""

    title: str
    text: str
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a System says to one input.

    `value` is the parsed answer and `valid` whether it has the form the task asks for: an
    invalid answer is a wrong answer. `error` is something else: no answer came back, and why.

    `sources` is None where nothing is looked up, and empty where nothing was found. `left_out`
    names what was found and not shown, or not whole, for want of room, such as "example e3".
    `sections` are there where the answer was written in several generations.
    """

    value: Json = None
    text: str = ""
    valid: bool = True
    usage: Usage = Usage()
    error: str | None = None
    sources: tuple[Source, ...] | None = None
    left_out: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


class System(Protocol):
    """A recipe built for a task. What is measured is what is served."""

    @property
    def recipe(self) -> Recipe: ...

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        """Answer one input of a user at a time; failures come back as `Answer.error`."""
        ...

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer several queries together, in their order."""
        ...

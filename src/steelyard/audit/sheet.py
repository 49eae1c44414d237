"""What every check looks at: the examples of a task, where they stand, and what was folded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from steelyard.audit.alike import near_pairs
from steelyard.core import SPLITS, Example, Split, Task, digest
from steelyard.tasks.examples import Item, fold, give_ids
from steelyard.tasks.load import read_items
from steelyard.tasks.task_file import TaskSpec, parse_task, read_task_text


@dataclass(frozen=True, slots=True)
class Placed:
    """An example and the split it is in."""

    example: Example
    split: Split

    @property
    def id(self) -> str:
        return self.example.id


Pair = tuple[Placed, Placed, float]


@dataclass(frozen=True, slots=True)
class Copy:
    """A row that the task leaves out because it repeats an example: where, and which one."""

    where: str
    part: str
    of: str


@dataclass(frozen=True)
class Sheet:
    """A task's examples, train first; `wheres` are the `file:line` of their ids."""

    task: Task
    rows: tuple[Placed, ...]
    wheres: dict[str, str]
    copies: tuple[Copy, ...] = ()
    spec: TaskSpec | None = None

    @property
    def splits_are_given(self) -> bool:
        """Whether the user made the splits, not us."""
        return self.spec is not None and "all" not in self.spec.data.files

    def place(self, where: str) -> str:
        """A `file:line` as messages show it: from the task file's folder on."""
        folder = "" if self.spec is None else f"{self.spec.path.absolute().parent}{os.sep}"
        return where.removeprefix(folder)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every two examples whose inputs are nearly the same, the likest first."""
        found = near_pairs([row.example.input for row in self.rows])
        found.sort(key=lambda pair: (-pair[2], pair[:2]))
        return [(self.rows[a], self.rows[b], alike) for a, b, alike in found]

    @cached_property
    def split_of(self) -> dict[str, Split]:
        return {row.id: row.split for row in self.rows}

    def examples(self, *splits: Split) -> list[Example]:
        """The examples of some splits."""
        return [row.example for row in self.rows if row.split in splits]


def read_sheet(task: Task) -> Sheet:
    """The sheet of a task; one that is only in memory knows no files and no copies."""
    rows = tuple(Placed(example, split) for split in SPLITS for example in task.split(split))
    if task.path is None:
        return Sheet(task, rows, {})
    spec = parse_task(task.path, read_task_text(task.path))
    parts = read_items(spec)
    kept, _ = fold(parts)
    named, _ = give_ids(kept, spec.data.id)
    items = [item for part in named.values() for item in part]
    wheres = {item.example.id: item.where for item in items}
    ids = {_key(item): item.example.id for item in items}
    numbers = {item.number for item in items}
    copies = tuple(
        Copy(item.where, part, ids[_key(item)])
        for part, rows_of_part in parts.items()
        for item in rows_of_part
        if item.number not in numbers
    )
    return Sheet(task, rows, wheres, copies, spec)


def _key(item: Item) -> tuple[str, str]:
    return item.example.input, digest(item.example.target)

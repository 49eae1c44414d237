"""What a task's contexts look things up in: its documents, records and accepted answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steelyard.core import Passage, Recipe, Task
from steelyard.knowledge.fake import Held, WordIndex
from steelyard.lifecycle.home import Home
from steelyard.recipes import Lookup


def open_lookup(task: Task, home: Home, recipes: Sequence[Recipe]) -> Lookup:
    """Where these recipes look; what they need is read and indexed now, if it changed."""
    contexts = [recipe.context for recipe in recipes]
    lookup = Lookup(accepted=home.database.accepted(task.name))
    if any(context.history != "none" for context in contexts):
        lookup = replace(lookup, records=_records(task))
    return lookup


def unseen(lookup: Lookup, task: Task) -> Lookup:
    """Without the accepted answers to what dev and test ask: those would be told to the recipes."""
    asked = {example.input for example in (*task.dev, *task.test)}
    return replace(lookup, accepted=tuple(one for one in lookup.accepted if one.input not in asked))


def _records(task: Task) -> WordIndex | None:
    records = task.knowledge.records
    if not records:
        return None
    return WordIndex(
        tuple(
            Held(
                Passage(record.id, 0, len(record.text), record.text, time=record.time),
                user=record.user,
                valid_from=record.time or "",
            )
            for record in records
        )
    )

"""Near-duplicate passages folded in the tables, and unfolded again, inside a transaction.

A passage that says the same as an earlier one of its scope (`duplicates.py`) gets that one's
number as `same_as`. Those that stand for themselves are entered into `band` by their keys, so
that what a new one must be compared with is found without looking at the rest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from steelyard.knowledge import duplicates
from steelyard.knowledge.reading.document import title_of

CROWD = 8  # look-alikes of which a passage is compared with the first ones only. Source: ours
SCOPE = "title, source, tenant, user, valid_from, valid_to, metadata"
PART = 500  # passages whose texts are in memory at once

T = TypeVar("T")


def fold(connection: Connection, passages: Sequence[tuple[int, str, str]]) -> dict[int, int]:
    """Which of these (number, text, scope) say the same as an earlier one, and as which.

    The others are entered into the bands. The passages need not be in the tables yet.
    """
    keys = {number: duplicates.keys(text, scope) for number, text, scope in passages}
    alike: dict[int, list[int]] = defaultdict(list)  # the passages of each key, in order
    rows = connection.exec_driver_sql(
        "SELECT key, passage FROM band WHERE key IN (SELECT value FROM json_each(?)) "
        "ORDER BY key, passage",
        (json.dumps(sorted({key for found in keys.values() for key in found})),),
    )
    for key, number in rows:
        alike[key].append(number)
    texts = _texts(connection, {number for numbers in alike.values() for number in numbers})
    folded: dict[int, int] = {}
    bands: list[tuple[int, int]] = []
    for number, text, scope in passages:
        candidates = sorted({n for key in keys[number] for n in alike[key]})
        first = next(
            (n for n in candidates if texts[n][1] == scope and duplicates.same(text, texts[n][0])),
            None,
        )
        if first is not None:
            folded[number] = first
            continue
        texts[number] = (text, scope)
        for key in keys[number]:
            if len(alike[key]) < CROWD:
                alike[key].append(number)
                bands.append((key, number))
    if bands:
        connection.exec_driver_sql("INSERT OR IGNORE INTO band VALUES (?, ?)", sorted(bands))
    return folded


def unfold(connection: Connection, passages: Sequence[int]) -> list[int]:
    """Take passages out of the folds of their scope, before they or their scope go.

    What was folded into them and is not among them comes back: it stands for itself until it is
    folded again.
    """
    left: list[int] = []
    gone = set(passages)
    for part in parts(passages):
        numbers = json.dumps(part)
        rows = connection.exec_driver_sql(
            "SELECT number FROM passage WHERE same_as IN (SELECT value FROM json_each(?))",
            (numbers,),
        )
        left += [number for (number,) in rows if number not in gone]
        connection.exec_driver_sql(  # one of the same title and text needs no new vector
            "INSERT OR REPLACE INTO vector SELECT passage.number, vector.embedder, vector.value "
            "FROM passage JOIN vector ON vector.passage = passage.same_as "
            "JOIN searched AS own ON own.number = passage.number "
            "JOIN searched AS other ON other.number = passage.same_as "
            "WHERE passage.same_as IN (SELECT value FROM json_each(?)) AND own.text = other.text",
            (numbers,),
        )
        bands = [
            (key, number)
            for number, (text, scope) in _texts(connection, part).items()
            for key in duplicates.keys(text, scope)
        ]
        connection.exec_driver_sql("DELETE FROM band WHERE key = ? AND passage = ?", bands)
        connection.exec_driver_sql(
            "UPDATE passage SET same_as = NULL WHERE number IN (SELECT value FROM json_each(?1)) "
            "OR same_as IN (SELECT value FROM json_each(?1))",
            (numbers,),
        )
    return sorted(left)


def fold_again(connection: Connection, passages: Sequence[int]) -> None:
    """Fold passages that are in the tables and stand for themselves, in their order."""
    for part in parts(passages):
        texts = _texts(connection, part)
        folded = fold(connection, [(number, *texts[number]) for number in part])
        if folded:
            connection.exec_driver_sql(
                "UPDATE passage SET same_as = ? WHERE number = ?",
                [(first, number) for number, first in folded.items()],
            )
            connection.exec_driver_sql(
                "DELETE FROM vector WHERE passage = ?", [(number,) for number in folded]
            )
        connection.exec_driver_sql(  # some of the others may have none
            "UPDATE setting SET value = ? WHERE key = 'embedded' AND CAST(value AS INTEGER) > ?",
            (str(part[0]), part[0]),
        )


def fold_anew(connection: Connection) -> None:
    """Take all folds apart, and fold by the rules as they are now."""
    connection.exec_driver_sql("DELETE FROM band")
    connection.exec_driver_sql("UPDATE passage SET same_as = NULL WHERE same_as IS NOT NULL")
    rows = connection.exec_driver_sql("SELECT number FROM passage ORDER BY number")
    fold_again(connection, [number for (number,) in rows])


def scopes(connection: Connection, documents: Sequence[int]) -> dict[int, str]:
    """What must be equal for passages of two documents to be folded, in one string each.

    That is who may see them and when, and what they are about: a title that a document has of
    its own, and not for want of one from the name of its file, is shown and searched with every
    passage, so that the same words under another title say something else.
    """
    rows = connection.exec_driver_sql(
        f"SELECT number, {SCOPE} FROM document "  # noqa: S608  our own words
        "WHERE number IN (SELECT value FROM json_each(?))",
        (json.dumps(list(documents)),),
    )
    return {int(number): _scope(*scope) for number, *scope in rows}


def _scope(title: str, source: str, *rest: str) -> str:
    return json.dumps(["" if title == title_of(source) else title, *rest], ensure_ascii=False)


def parts(values: Sequence[T], size: int = PART) -> Iterator[Sequence[T]]:
    """The values in their order, some at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _texts(
    connection: Connection, passages: Sequence[int] | set[int]
) -> dict[int, tuple[str, str]]:
    """Text and scope of passages."""
    rows = connection.exec_driver_sql(
        f"SELECT passage.number, passage.text, {SCOPE} "  # noqa: S608
        "FROM passage JOIN document ON document.number = passage.document "
        "WHERE passage.number IN (SELECT value FROM json_each(?))",
        (json.dumps(list(passages)),),
    )
    return {number: (text, _scope(*scope)) for number, text, *scope in rows}

"""Documents in and out of the tables, inside the caller's transaction.

Whatever the order of the calls, the tables end as if only the documents that are left had been
added: versions close one another, and a passage folded into one that goes comes back. Only which
one of several near-duplicates stands for the others depends on the order.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from steelyard.core import Json, digest
from steelyard.knowledge import duplicates
from steelyard.knowledge.passages import cut
from steelyard.knowledge.reading import Document
from steelyard.knowledge.tables import ALWAYS, STILL

CROWD = 8  # look-alikes of which a passage is compared with the first ones only. Source: ours
MOST_VALUES = 500  # values of one statement, well below SQLite's limit

Identity = tuple[str, str, str]  # tenant, user, id
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document and the hash of all that was read of it."""

    document: Document
    sha256: str

    @property
    def identity(self) -> Identity:
        return self.document.tenant or "", self.document.user or "", self.document.id

    @property
    def valid_from(self) -> str:
        return self.document.valid_from or ALWAYS


def prepare(document: Document) -> Prepared:
    return Prepared(document, digest(document.to_json()))


def find(connection: Connection, source: str, prepared: Sequence[Prepared]) -> dict[str, int]:
    """Which of these documents a source has already, unchanged: their numbers by sha256."""
    found: dict[str, int] = {}
    for part in _parts([one.sha256 for one in prepared]):
        rows = connection.exec_driver_sql(
            f"SELECT sha256, number FROM document WHERE source = ? AND sha256 IN ({_marks(part)})",
            (source, *part),
        )
        found.update((sha256, number) for sha256, number in rows)
    return found


def add(connection: Connection, source: str, prepared: Sequence[Prepared]) -> list[int]:
    """Add documents that the source does not have; their numbers come back."""
    number = next_number(connection, "document")
    numbers = list(range(number, number + len(prepared)))
    if not numbers:
        return []
    connection.exec_driver_sql(
        "INSERT INTO document (number, id, version, source, tenant, user, title, valid_from, "
        "valid_to, ends, metadata, sha256, text) VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_row(number, source, one) for number, one in zip(numbers, prepared, strict=True)],
    )
    _settle(connection, sorted({one.identity for one in prepared}))
    _add_passages(connection, dict(zip(numbers, prepared, strict=True)))
    return numbers


def delete(connection: Connection, documents: Sequence[int]) -> None:
    """Remove documents with their passages from every table and index."""
    identities: set[Identity] = set()
    for part in _parts(documents):
        marks = _marks(part)
        rows = connection.exec_driver_sql(
            f"SELECT tenant, user, id FROM document WHERE number IN ({marks})", part
        )
        identities |= {(tenant, user, name) for tenant, user, name in rows}
        passages = _passages(connection, part)
        left = _unfold(connection, passages)
        for some in _parts(passages):
            connection.exec_driver_sql(
                f"DELETE FROM passage WHERE number IN ({_marks(some)})", some
            )
        connection.exec_driver_sql(f"DELETE FROM document WHERE number IN ({marks})", part)
        _fold_again(connection, left)
    _settle(connection, sorted(identities))


def stale(
    connection: Connection, source: str, prepared: Sequence[Prepared], kept: str
) -> list[int]:
    """Documents of a source that these ones replace: same identity and dates, other content.

    `kept` names the table of the numbers that are known to be the source's still.
    """
    numbers: list[int] = []
    for part in _parts(prepared, MOST_VALUES // 4):
        values = ", ".join(["(?, ?, ?, ?)"] * len(part))
        rows = connection.exec_driver_sql(
            f"SELECT number FROM document WHERE (tenant, user, id, valid_from) IN (VALUES {values})"
            f" AND source = ? AND number NOT IN (SELECT number FROM {kept})",
            (*(v for one in part for v in (*one.identity, one.valid_from)), source),
        )
        numbers += [number for (number,) in rows]
    return numbers


# ---------------------------------------------------------------- versions


def _settle(connection: Connection, identities: Sequence[Identity]) -> None:
    """Number the versions of these documents, and end each where the next one begins."""
    for part in _parts(identities, MOST_VALUES // 3):
        values = ", ".join(["(?, ?, ?)"] * len(part))
        rows = connection.exec_driver_sql(
            "SELECT tenant, user, id, number, version, valid_from, valid_to, ends FROM document "
            f"WHERE (tenant, user, id) IN (VALUES {values})",
            tuple(value for identity in part for value in identity),
        )
        versions: dict[Identity, list[Any]] = defaultdict(list)
        for tenant, user, name, *rest in rows:
            versions[tenant, user, name].append(rest)
        updates: list[tuple[int, str, int]] = []
        moved: list[int] = []
        for found in versions.values():
            begins = sorted({valid_from for _, _, valid_from, _, _ in found})
            for number, version, valid_from, valid_to, ends in found:
                place = begins.index(valid_from) + 1
                end = ends or (begins[place] if place < len(begins) else STILL)
                if (version, valid_to) != (place, end):
                    updates.append((place, end, number))
                if valid_to != end:
                    moved.append(number)
        passages = _passages(connection, moved)
        left = _unfold(connection, passages)  # in the scope of the old dates
        if updates:
            connection.exec_driver_sql(
                "UPDATE document SET version = ?, valid_to = ? WHERE number = ?", updates
            )
        _fold_again(connection, sorted({*passages, *left}))


# ---------------------------------------------------------------- passages and their folding


def _add_passages(connection: Connection, documents: dict[int, Prepared]) -> None:
    number = next_number(connection, "passage")
    rows = [
        (number + place, document, passage)
        for place, (document, passage) in enumerate(
            (document, passage)
            for document, prepared in documents.items()
            for passage in cut(prepared.document)
        )
    ]
    scopes = _scopes(connection, list(documents))
    folded = _fold(connection, [(n, p.text, scopes[document]) for n, document, p in rows])
    if rows:
        connection.exec_driver_sql(
            "INSERT INTO passage (number, document, first, last, headings, page, text, same_as) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (n, document, p.start, p.end, _json(p.headings), p.page, p.text, folded.get(n))
                for n, document, p in rows
            ],
        )


def _unfold(connection: Connection, passages: Sequence[int]) -> list[int]:
    """Take passages out of the folds of their scope; the others that were folded into them
    come back, and have to be folded again.
    """
    left: list[int] = []
    gone = set(passages)
    for part in _parts(passages):
        marks = _marks(part)
        rows = connection.exec_driver_sql(
            f"SELECT number FROM passage WHERE same_as IN ({marks}) ORDER BY number", part
        )
        left += [number for (number,) in rows if number not in gone]
        connection.exec_driver_sql(  # one of the same text needs no new vector
            "INSERT OR REPLACE INTO vector SELECT other.number, vector.embedder, vector.value "
            "FROM passage JOIN vector ON vector.passage = passage.number "
            "JOIN passage AS other ON other.same_as = passage.number "
            f"WHERE passage.number IN ({marks}) AND other.text = passage.text",
            part,
        )
        firsts = connection.exec_driver_sql(
            "SELECT passage.text, passage.number, passage.document FROM passage "
            f"WHERE number IN ({marks}) AND same_as IS NULL",
            part,
        ).all()
        scopes = _scopes(connection, [document for _, _, document in firsts])
        bands = [
            (key, number)
            for text, number, document in firsts
            for key in duplicates.keys(text, scopes[document])
        ]
        if bands:
            connection.exec_driver_sql("DELETE FROM band WHERE key = ? AND passage = ?", bands)
        connection.exec_driver_sql(
            f"UPDATE passage SET same_as = NULL WHERE same_as IN ({marks}) OR number IN ({marks})",
            (*part, *part),
        )
    return left


def _fold_again(connection: Connection, passages: Sequence[int]) -> None:
    """Fold passages that are in the tables and stand for themselves."""
    for part in _parts(passages):
        rows = connection.exec_driver_sql(
            f"SELECT number, text, document FROM passage WHERE number IN ({_marks(part)}) "
            "ORDER BY number",
            part,
        ).all()
        scopes = _scopes(connection, [document for _, _, document in rows])
        folded = _fold(connection, [(n, text, scopes[document]) for n, text, document in rows])
        if folded:
            connection.exec_driver_sql(
                "UPDATE passage SET same_as = ? WHERE number = ?",
                [(first, number) for number, first in folded.items()],
            )
            connection.exec_driver_sql(
                "DELETE FROM vector WHERE passage = ?", [(number,) for number in folded]
            )
        connection.exec_driver_sql(
            "UPDATE setting SET value = ? WHERE key = 'embedded' AND CAST(value AS INTEGER) > ?",
            (str(part[0]), part[0]),
        )


def _fold(connection: Connection, passages: Sequence[tuple[int, str, str]]) -> dict[int, int]:
    """Which of these (number, text, scope) say the same as an earlier one, and as which.

    The others are entered into the bands: they stand for themselves.
    """
    keys = {number: duplicates.keys(text, scope) for number, text, scope in passages}
    alike: dict[int, list[int]] = defaultdict(list)  # of each key
    for part in _parts(sorted({key for found in keys.values() for key in found})):
        rows = connection.exec_driver_sql(
            f"SELECT key, passage FROM band WHERE key IN ({_marks(part)}) ORDER BY key, passage",
            part,
        )
        for key, number in rows:
            alike[key].append(number)
    texts = _texts(connection, sorted({n for numbers in alike.values() for n in numbers}))
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


def _texts(connection: Connection, passages: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Text and scope of passages."""
    found: dict[int, tuple[str, str]] = {}
    for part in _parts(passages):
        rows = connection.exec_driver_sql(
            "SELECT passage.number, passage.text, tenant, user, valid_from, valid_to, metadata "
            "FROM passage JOIN document ON document.number = passage.document "
            f"WHERE passage.number IN ({_marks(part)})",
            part,
        )
        found.update((number, (text, _json(scope))) for number, text, *scope in rows)
    return found


def _scopes(connection: Connection, documents: Sequence[int]) -> dict[int, str]:
    """What has to be equal for passages of two documents to be folded, in one string each."""
    found: dict[int, str] = {}
    for part in _parts(sorted(set(documents))):
        rows = connection.exec_driver_sql(
            "SELECT number, tenant, user, valid_from, valid_to, metadata FROM document "
            f"WHERE number IN ({_marks(part)})",
            part,
        )
        found.update((number, _json(scope)) for number, *scope in rows)
    return found


def _passages(connection: Connection, documents: Sequence[int]) -> list[int]:
    return [
        number
        for part in _parts(documents)
        for (number,) in connection.exec_driver_sql(
            f"SELECT number FROM passage WHERE document IN ({_marks(part)}) ORDER BY number", part
        )
    ]


# ---------------------------------------------------------------- SQL


def _row(number: int, source: str, prepared: Prepared) -> tuple[Any, ...]:
    document = prepared.document
    ends = document.valid_to or ""
    return (
        number,
        document.id,
        source,
        document.tenant or "",
        document.user or "",
        document.title,
        prepared.valid_from,
        ends or STILL,
        ends,
        _json(document.metadata),
        prepared.sha256,
        document.text,
    )


def next_number(connection: Connection, table: str) -> int:
    """The number of the next row: one that no row ever had."""
    query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    return int(connection.exec_driver_sql(query, (table,)).scalar() or 0) + 1


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _parts(values: Sequence[T], size: int = MOST_VALUES) -> Iterator[tuple[T, ...]]:
    for start in range(0, len(values), size):
        yield tuple(values[start : start + size])

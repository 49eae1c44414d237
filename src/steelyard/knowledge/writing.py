"""Documents in and out of the tables, inside the caller's transaction.

Whatever the order of the calls, the tables end as if only the documents that are left had been
added: versions close one another, and a passage folded into one that goes comes back. Only which
one of several near-duplicates stands for the others depends on the order.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from steelyard.core import Json, digest
from steelyard.knowledge.folding import fold, fold_again, parts, scopes, unfold
from steelyard.knowledge.passages import cut
from steelyard.knowledge.reading import Document
from steelyard.knowledge.tables import ALWAYS, STILL

Identity = tuple[str, str, str]  # tenant, user, id


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
    rows = connection.exec_driver_sql(
        "SELECT sha256, number FROM document "
        "WHERE source = ? AND sha256 IN (SELECT value FROM json_each(?))",
        (source, _json([one.sha256 for one in prepared])),
    )
    return {str(sha256): int(number) for sha256, number in rows}


def replaced(connection: Connection, source: str, prepared: Sequence[Prepared]) -> list[int]:
    """Documents of a source in whose place these come: same identity and date, other content.

    Those in the table `kept` are known to be the source's still.
    """
    rows = connection.exec_driver_sql(
        "SELECT number FROM document WHERE (tenant, user, id, valid_from) IN (SELECT "
        "json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), "
        "json_extract(value, '$[3]') FROM json_each(?)) "
        "AND source = ? AND number NOT IN (SELECT number FROM kept)",
        (_json([[*one.identity, one.valid_from] for one in prepared]), source),
    )
    return [number for (number,) in rows]


def add(connection: Connection, source: str, prepared: Sequence[Prepared]) -> list[int]:
    """Add documents that the source does not have; their numbers come back."""
    first = next_number(connection, "document")
    numbers = list(range(first, first + len(prepared)))
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
    for part in parts(documents):
        numbers = _json(list(part))
        rows = connection.exec_driver_sql(
            "SELECT tenant, user, id FROM document "
            "WHERE number IN (SELECT value FROM json_each(?))",
            (numbers,),
        )
        identities |= {(tenant, user, name) for tenant, user, name in rows}
        left = unfold(connection, _passages(connection, part))
        connection.exec_driver_sql(
            "DELETE FROM passage WHERE document IN (SELECT value FROM json_each(?))", (numbers,)
        )
        connection.exec_driver_sql(
            "DELETE FROM document WHERE number IN (SELECT value FROM json_each(?))", (numbers,)
        )
        fold_again(connection, left)
    _settle(connection, sorted(identities))


def next_number(connection: Connection, table: str) -> int:
    """The number of the next row: one that no row ever had."""
    query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    return int(connection.exec_driver_sql(query, (table,)).scalar() or 0) + 1


def _settle(connection: Connection, identities: Sequence[Identity]) -> None:
    """Number the versions of these documents, and end each where the next one begins."""
    for part in parts(identities):
        rows = connection.exec_driver_sql(
            "SELECT tenant, user, id, number, version, valid_from, valid_to, ends FROM document "
            "WHERE (tenant, user, id) IN (SELECT json_extract(value, '$[0]'), "
            "json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?))",
            (_json(list(part)),),
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
        left = unfold(connection, passages)  # in the scope of the old dates
        if updates:
            connection.exec_driver_sql(
                "UPDATE document SET version = ?, valid_to = ? WHERE number = ?", updates
            )
        fold_again(connection, sorted([*passages, *left]))


def _add_passages(connection: Connection, documents: dict[int, Prepared]) -> None:
    passages = [
        (document, passage)
        for document, prepared in documents.items()
        for passage in cut(prepared.document)
    ]
    scope = scopes(connection, list(documents))
    number = next_number(connection, "passage")
    for part in parts(list(enumerate(passages, start=number))):
        folded = fold(connection, [(n, p.text, scope[document]) for n, (document, p) in part])
        connection.exec_driver_sql(
            "INSERT INTO passage (number, document, first, last, headings, page, text, same_as) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (n, document, p.start, p.end, _json(p.headings), p.page, p.text, folded.get(n))
                for n, (document, p) in part
            ],
        )


def _passages(connection: Connection, documents: Sequence[int]) -> list[int]:
    rows = connection.exec_driver_sql(
        "SELECT number FROM passage WHERE document IN (SELECT value FROM json_each(?)) "
        "ORDER BY number",
        (_json(list(documents)),),
    )
    return [number for (number,) in rows]


def _row(number: int, source: str, prepared: Prepared) -> tuple[Any, ...]:
    document = prepared.document
    ends = _end(document.valid_to) if document.valid_to else ""
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


def _end(valid_to: str) -> str:
    """The first moment at which something no longer holds; a day that is named still counts.

    >>> _end("2020-12-31"), _end("2020-12-31T12:00:00")
    ('2021-01-01', '2020-12-31T12:00:00')
    """
    if len(valid_to) > len("2020-12-31"):
        return valid_to
    day = date.fromisoformat(valid_to)
    return STILL if day == date.max else (day + timedelta(days=1)).isoformat()


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)

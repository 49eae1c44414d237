"""`[knowledge]`: the documents a task may look things up in, and what is known of its users."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json, Knowledge, ModelSpec, digest
from steelyard.errors import DataError, nearest
from steelyard.tasks.dates import iso_time
from steelyard.tasks.rows import RawRow, read_rows
from steelyard.tasks.toml_table import Table
from steelyard.tasks.wording import shown

KEYS = ("documents", "evidence", "history", "abstain", "cite", "paraphrase", "copies")
COLUMNS = ("user", "time", "text")  # of a history file


@dataclass(frozen=True, slots=True)
class Record:
    """Something known about one user, such as an order; `time` (ISO 8601) is when it came."""

    id: str
    user: str
    text: str
    time: str | None = None


@dataclass(frozen=True, slots=True)
class KnowledgeSpec:
    """The section, read and checked; the documents and the history themselves are not."""

    documents: tuple[Path, ...] = ()
    evidence: str | None = None
    history: Path | None = None
    abstain: str | None = None
    cite: bool = False
    paraphrase: ModelSpec | None = None
    copies: int = Knowledge().copies


def parse_knowledge(table: Table, output_type: str, *, has_users: bool) -> KnowledgeSpec:
    """The section of a task whose answers are of that type, but for the model that it names.

    Raises:
        TaskError: a key is wrong, or needs something that the task does not have.
    """
    documents = table.strings("documents", '["handbook/", "faq.md"]') or ()
    paths = tuple(table.path_at("documents", name) for name in documents)
    for key in ("evidence", "cite", "paraphrase"):
        if key in table.values and not paths:
            raise table.error(key, "is about documents, and there are none. Add documents.")
    copies = table.whole("copies")
    if copies is not None and "paraphrase" not in table.values:
        raise table.error(
            "copies",
            "counts paraphrases, and nobody writes them. Expected the name of a [models.NAME] "
            'table too. Add a line such as paraphrase = "big".',
        )
    if copies is not None and copies < 1:
        raise table.error("copies", f"is {copies}. Expected 1 or more. Change it.")
    for key in ("abstain", "cite"):
        if key in table.values and output_type != "text":
            raise table.error(
                key, f'is for type = "text", and [output] type is "{output_type}". Remove it.'
            )
    history = table.string("history", "a data file such as orders.jsonl")
    if history is not None and not has_users:
        raise table.error(
            "history",
            "is looked up by who asks, and [data] names no user. Expected its column. "
            'Add a line such as user = "user_id" under [data].',
        )
    abstain = table.string("abstain", 'a sentence such as "I do not know."')
    return KnowledgeSpec(
        documents=paths,
        evidence=table.string("evidence", "a column"),
        history=None if history is None else table.file_at("history", history),
        abstain=None if abstain is None else abstain.strip(),
        cite=table.switch("cite"),
        copies=Knowledge().copies if copies is None else copies,
    )


def checked_knowledge(spec: KnowledgeSpec) -> Knowledge:
    """The section's values, after a look at the history file.

    Raises:
        DataError: the history file is wrong.
    """
    if spec.history is not None:
        read_history(spec.history)
    return Knowledge(
        spec.documents, spec.history, spec.abstain, spec.cite, spec.paraphrase, spec.copies
    )


def knowledge_hash(knowledge: Knowledge) -> str | None:
    """Names all of it that can change an answer: every byte of the documents; None: nothing."""
    if knowledge == Knowledge():
        return None
    return digest(
        {
            "documents": list(_contents(knowledge.documents)),
            "history": [] if knowledge.history is None else list(_contents([knowledge.history])),
            "abstain": knowledge.abstain,
            "cite": knowledge.cite,
        }
    )


def _contents(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Each file's name below what was given, and the SHA-256 of what is in it.

    Links to folders are not followed, so no loop can hold us; what cannot be read is named.
    """
    for path in paths:
        files = [path]
        if path.is_dir():
            walk = os.walk(path, followlinks=False)
            files = sorted(Path(folder, name) for folder, _, names in walk for name in names)
        for file in files:
            name = file.relative_to(path.parent).as_posix()
            try:
                with file.open("rb") as opened:
                    yield name, hashlib.file_digest(opened, "sha256").hexdigest()
            except OSError as error:
                yield name, f"unreadable: {error.strerror}"


def read_history(file: Path) -> list[Record]:
    """The records of a history file.

    Raises:
        DataError: a column is missing, a cell is empty, or a time is none.
    """
    rows = read_rows(file)
    known = list(dict.fromkeys(column for row in rows for column in row.values))
    for column in ("user", "text"):
        if column not in known:
            raise DataError(
                f'{rows[0].where}: the history has no column "{column}". Expected the columns '
                f"user and text, and time if there is one. Columns: {', '.join(known)}. "
                f"Rename one.{nearest(column, known)}"
            )
    return [_record(row, number) for number, row in enumerate(rows, 1)]


def _record(row: RawRow, number: int) -> Record:
    cells = {column: _cell(row.values, column) for column in COLUMNS}
    for column in ("user", "text"):
        if not cells[column]:
            raise DataError(
                f"{row.where}: the record's {column} is empty. Expected a text. "
                "Fill it in, or remove the row."
            )
    return Record(
        id=f"record-{number}",
        user=cells["user"],
        text=cells["text"],
        time=checked_time(cells["time"], row.where, "time") if cells["time"] else None,
    )


def _cell(values: Mapping[str, Json], column: str) -> str:
    value = values.get(column)
    return "" if value is None else str(value).strip()


def checked_time(value: str, where: str, column: str) -> str:
    """A time in the one spelling of `iso_time`.

    Raises:
        DataError: it is none.
    """
    try:
        return iso_time(value)
    except (ValueError, OverflowError):
        raise DataError(
            f"{where}: the time (column {column}) is {shown(value)}. Expected ISO 8601, such as "
            "2026-05-01 or 2026-05-01T12:00:00Z, as it decides what was known. Correct it."
        ) from None

"""Rows → examples: which columns are read, and how."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import Example, Json, digest
from steelyard.errors import DataError, nearest
from steelyard.tasks.knowledge import checked_time
from steelyard.tasks.rows import RawRow, parse_json
from steelyard.tasks.task_file import OutputType, TaskSpec
from steelyard.tasks.toml_table import Table
from steelyard.tasks.wording import count, shown


@dataclass(frozen=True, slots=True)
class Item:
    """An example, where it stands in its file, and its number over all files."""

    example: Example
    where: str
    number: int


@dataclass(frozen=True, slots=True)
class Template:
    """Text with holes: pairs of a literal and the column that follows it, or None at the end."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for _, column in self.parts if column is not None)

    def fill(self, values: Mapping[str, Json]) -> str:
        """The text for one row; a null counts as empty. Nothing but a look-up happens in a hole.

        >>> parse_input("{subject}\\n{body}").fill({"subject": "Card", "body": "Where is it?"})
        'Card\\nWhere is it?'
        """
        return "".join(
            literal + ("" if column is None else to_text(values.get(column)))
            for literal, column in self.parts
        )


def parse_input(text: str) -> Template:
    """A column name, or a template over columns; `{{` and `}}` are braces.

    Raises:
        ValueError: with the reason in words.
    """
    if "{" not in text and "}" not in text:
        return Template((("", text),))
    parts = []
    for literal, column, spec, conversion in string.Formatter().parse(text):
        if column == "" or spec or conversion:
            raise ValueError("only plain {column} holes are filled")
        parts.append((literal, column))
    if not any(column for _, column in parts):
        raise ValueError("there is no {column} in it")
    return Template(tuple(parts))


def to_text(value: Json) -> str:
    """A cell as text: strings as they are, null as nothing, the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def input_template(data: Table, text: str) -> Template:
    """`parse_input` of the task file's `[data] input`.

    Raises:
        TaskError: it is not a template.
    """
    try:
        return parse_input(text)
    except ValueError as error:
        raise data.error(
            "input",
            f"is {shown(text)}: {error}. Expected a column, or a template such as "
            '"{subject}\\n{body}" with {{ for a brace. Change it.',
        ) from None


def check_columns(spec: TaskSpec, template: Template, rows: Sequence[RawRow], file: Path) -> None:
    """Every column that the task file names stands in this file.

    Raises:
        TaskError: one does not, or the input shows the target.
    """
    data = spec.data
    known = list(dict.fromkeys(column for row in rows for column in row.values))
    named = [("input", column) for column in template.columns] + [
        (key, column)
        for key in ("target", "group", "user", "time", "id")
        if (column := getattr(data, key)) is not None
    ]
    evidence = spec.knowledge.evidence
    named += [] if evidence is None else [("evidence", evidence)]
    for key, column in named:
        if column not in known:
            table = spec.knowledge_table if key == "evidence" else spec.data_table
            raise table.error(
                key,
                f'names the column "{column}", and {file} has none of that name. '
                f"Columns: {', '.join(known)}. Correct the name.{nearest(column, known)}",
            )
    if data.target in template.columns:
        raise spec.data_table.error(
            "input", f'shows the target column "{data.target}". Expected other columns. Change it.'
        )


def to_item(row: RawRow, number: int, spec: TaskSpec, template: Template) -> Item:
    """The example of one row; its id is the id column's text, or "" where there is none.

    Raises:
        DataError: the input or the target is empty, or the target is of the wrong kind.
    """
    data = spec.data
    named = {column: getattr(data, column) for column in ("group", "user", "time")}
    cells = {key: to_text(row.values.get(column)) for key, column in named.items() if column}
    if not any(to_text(row.values.get(column)).strip() for column in template.columns):
        columns = ", ".join(template.columns)
        raise DataError(
            f"{row.where}: the input (column {columns}) is empty. "
            "Expected a text. Fill it in, or remove the row."
        )
    input_text = template.fill(row.values)
    evidence = spec.knowledge.evidence
    used = {data.target, data.id or "id", *template.columns, *named.values(), evidence}
    target, *also = _targets(row, spec)
    time = cells.get("time") or None
    if time is not None and (data.user is not None or spec.knowledge.documents):
        time = checked_time(time, row.where, str(data.time))
    example = Example(
        id=to_text(row.values.get(data.id or "id")),
        input=input_text,
        target=target,
        group=cells.get("group") or digest(input_text)[:16],
        user=cells.get("user") or None,
        time=time,
        metadata={key: value for key, value in row.values.items() if key not in used},
        also=tuple(also),
        evidence=_evidence(row, evidence),
    )
    return Item(example, row.where, number)


def _targets(row: RawRow, spec: TaskSpec) -> list[Json]:
    """The target, and the further answers that are accepted, each once.

    A text may have a list of them. Where the task may abstain, an empty target says that there is
    no answer, and the sentence that says so is the target.
    """
    column = spec.data.target
    value = row.values.get(column)
    if spec.output_type != "text":
        return [_target(value, row.where, column, spec.output_type)]
    values = value if isinstance(value, list) else [value]
    abstain = spec.knowledge.abstain
    if abstain is not None:
        filled = [item for item in values if to_text(item).strip()]
        values = filled or [abstain]
    elif isinstance(value, list):
        values = value or [None]
    texts = [_target(item, row.where, column, "text") for item in values]
    if abstain is not None:
        texts = [abstain if _bare(text) == _bare(abstain) else text for text in texts]
    return list(dict.fromkeys(texts))


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!")


def _evidence(row: RawRow, column: str | None) -> tuple[str, ...]:
    """The ids of the documents that hold the answer: a list, or one alone."""
    value = None if column is None else row.values.get(column)
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(to_text(item) for item in items if item not in (None, "")))


def _target(value: Json, where: str, column: str, output_type: OutputType) -> Json:
    if value is None or (output_type == "label" and not to_text(value).strip()):
        raise DataError(
            f"{where}: the target (column {column}) is empty. "
            "Expected the right answer for this input. Fill it in, or remove the row."
        )
    if output_type == "json":
        if not isinstance(value, str):
            return value
        try:
            return parse_json(value)
        except ValueError as error:
            raise DataError(
                f"{where}: the target (column {column}) is {shown(value)}, which is not valid "
                f'JSON: {error}. Expected JSON, as [output] type is "json". Correct the cell.'
            ) from None
    if isinstance(value, dict | list):
        raise DataError(
            f"{where}: the target (column {column}) is {shown(value)}. Expected a text, as "
            f'[output] type is "{output_type}". Correct the row, or set type = "json".'
        )
    return to_text(value)


def fold(parts: Mapping[str, Sequence[Item]]) -> tuple[dict[str, list[Item]], list[str]]:
    """Each (input, target) of a user once: the first of a file, and test before dev before train.

    Two users who ask the same ask about different things. With given splits this drops from train
    what dev or test holds, whoever asks it, so that nothing measured has been learned from. Returns
    the parts in their order, and a note for each kind of drop.
    """
    home: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str, str | None]] = set()
    kept: dict[str, list[Item]] = {name: [] for name in parts}
    dropped: Counter[tuple[str, str]] = Counter()
    for name in sorted(parts, key=("all", "test", "dev", "train").index):
        for item in parts[name]:
            key = (item.example.input, digest(item.example.target))
            own = (*key, item.example.user)
            first = home.setdefault(key, name)
            if first != name or own in seen:
                dropped[name, first] += 1
            else:
                seen.add(own)
                kept[name].append(item)
    notes = []
    for (name, other), number in dropped.items():
        rows, verb = count(number, "row"), "was" if number == 1 else "were"
        if name == other:
            where = "" if name == "all" else f" of {name}"
            notes.append(f"{rows}{where} repeated an earlier input and target and {verb} folded.")
        else:
            notes.append(f"{rows} of {name} also stood in {other} and {verb} dropped from {name}.")
    return {name: kept[name] for name in parts}, notes


def give_ids(
    parts: Mapping[str, Sequence[Item]], id_column: str | None
) -> tuple[dict[str, list[Item]], list[str]]:
    """The ids of the id column, or of a column "id" that is unique, or else row-1, row-2, …

    Raises:
        DataError: the named id column has a gap or a repeat.
    """
    items = [item for part in parts.values() for item in part]
    first: dict[str, str] = {}
    for item in items:
        id_ = item.example.id
        if id_ and id_ not in first:
            first[id_] = item.where
        elif id_column is not None:
            what = f"is {shown(id_)}, as in {first[id_]}" if id_ else "is empty"
            raise DataError(
                f"{item.where}: the id (column {id_column}) {what}. Expected a different one in "
                "each row. Correct it, or remove id from [data] to have the rows numbered."
            )
    if len(first) == len(items):
        return {name: list(part) for name, part in parts.items()}, []
    notes = ['The column "id" is not unique, so rows are named row-1, row-2, …'] if first else []
    return {name: [_numbered(item) for item in part] for name, part in parts.items()}, notes


def _numbered(item: Item) -> Item:
    return replace(item, example=replace(item.example, id=f"row-{item.number}"))

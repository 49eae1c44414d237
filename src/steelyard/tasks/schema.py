"""JSON Schema: read one, infer one, put targets into its order, say where they do not fit.

jsonschema is loaded where a schema is used: the reading child and most commands use none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steelyard.core import Json
from steelyard.errors import TaskError
from steelyard.tasks.rows import parse_json
from steelyard.tasks.wording import shown

Schema = Mapping[str, Json]


def read_schema(path: Path) -> Schema:
    """The JSON Schema in a file, which must describe an object.

    Raises:
        TaskError: not JSON, not a JSON Schema, or not one of an object.
    """
    from jsonschema import SchemaError

    remedy = "Correct the file, or remove schema from [output] to have it inferred."
    try:
        schema = parse_json(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise TaskError(
            f"{path}: the schema is not valid JSON: {error}. Expected a JSON Schema. {remedy}"
        ) from None
    if not isinstance(schema, dict) or schema.get("type") != "object":
        kind = shown(schema.get("type")) if isinstance(schema, dict) else shown(schema)
        raise TaskError(
            f"{path}: the schema does not describe an object (its type is {kind}). "
            f'Expected "type": "object" at its top, as answers are JSON objects. {remedy}'
        )
    try:
        _dialect(schema).check_schema(schema)
    except SchemaError as error:
        raise TaskError(
            f"{path}: not a JSON Schema: at {error.json_path}, {_short(error.message)}. "
            f"Expected what the JSON Schema standard allows there. {remedy}"
        ) from None
    return schema


def _dialect(schema: Schema) -> Any:
    """The validator class of the draft that the schema names, or of the newest."""
    from jsonschema.validators import Draft202012Validator, validator_for

    is_named = isinstance(schema.get("$schema"), str)
    return validator_for(schema, Draft202012Validator) if is_named else Draft202012Validator


def infer_schema(values: Sequence[Json]) -> dict[str, Json]:
    """The narrowest plain schema that all the values fit.

    Properties in first-seen order, required where every object has them, no others allowed;
    integer and number together are number; null is a type beside the others.

    >>> infer_schema([{"a": 1}, {"a": None, "b": "x"}])["properties"]
    {'a': {'type': ['integer', 'null']}, 'b': {'type': 'string'}}
    """
    types = dict.fromkeys(_type(value) for value in values)
    if "number" in types:
        types.pop("integer", None)
    if "null" in types:
        del types["null"]
        types["null"] = None  # last: a schema reads better so
    names = list(types)
    if not names:
        return {}
    schema: dict[str, Json] = {"type": names[0] if len(names) == 1 else names}
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        members: dict[str, list[Json]] = {}
        for value in objects:
            for key, member in value.items():
                members.setdefault(key, []).append(member)
        schema["properties"] = {key: infer_schema(found) for key, found in members.items()}
        schema["required"] = [key for key, found in members.items() if len(found) == len(objects)]
        schema["additionalProperties"] = False
    items = [item for value in values if isinstance(value, list) for item in value]
    if items:
        schema["items"] = infer_schema(items)
    return schema


def _type(value: Json) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object"}
    return names.get(type(value), "array")


def misfit(
    values: Iterator[tuple[str, Json]], schema: Schema, file: Path | None = None
) -> tuple[str, str] | None:
    """The first of (where, value) that does not fit: where, and what was expected; else None.

    `file` is where the schema was read from, for the message.

    Raises:
        TaskError: the schema refers to something that is not in it.
    """
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # an empty registry: a reference to an address is an error, never a download
    validator = _dialect(schema)(schema, registry=Registry())
    try:
        for where, value in values:
            error = best_match(validator.iter_errors(value))
            if error is not None:
                return where, f"at {error.json_path}, {_short(error.message)}"
    except (Unresolvable, RecursionError) as error:
        what = f"{shown(error.ref)}, which is not in it" if isinstance(error, Unresolvable) else ""
        raise TaskError(
            f"{file}: the schema refers to {what or 'itself without end'}. Expected references of "
            "the form #/$defs/NAME. Put the definition into the schema."
        ) from None
    return None


def _short(message: str, width: int = 200) -> str:
    """Both ends of a long message: the value stands first and what was expected last."""
    half = width // 2
    return message if len(message) <= width else f"{message[:half]} … {message[-half:]}"


def in_order(value: Json, schema: Schema) -> Json:
    """The value with the keys of every object in the order of the schema's properties.

    Keys that the schema does not name follow in their own order.

    >>> in_order({"b": 1, "a": 2}, {"properties": {"a": {}, "b": {}}})
    {'a': 2, 'b': 1}
    """
    return _in_order(value, [schema], schema)


def _in_order(value: Json, schemas: Sequence[Json], root: Schema) -> Json:
    if not isinstance(value, dict | list):
        return value
    views = _views(schemas, root)
    if isinstance(value, list):
        items = [view["items"] for view in views if "items" in view]
        return [_in_order(item, items, root) for item in value]
    members: dict[str, list[Json]] = {}
    for view in views:
        for key, member in view.get("properties", {}).items():
            members.setdefault(key, []).append(member)
    order = [key for key in members if key in value] + [key for key in value if key not in members]
    return {key: _in_order(value[key], members.get(key, ()), root) for key in order}


def _views(schemas: Sequence[Json], root: Schema) -> list[Schema]:
    """The schemas and all that they refer to or combine: each may name properties."""
    views: list[Schema] = []
    waiting = list(schemas)
    while waiting:
        schema = waiting.pop(0)
        if not isinstance(schema, dict) or any(schema is view for view in views):
            continue
        views.append(schema)
        for key in ("allOf", "anyOf", "oneOf"):
            waiting.extend(schema.get(key, ()))
        waiting.append(_local(schema.get("$ref"), root))
    return views


def _local(reference: Json, root: Schema) -> Json:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return root if reference == "#" else None
    found: Json = root
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found


def spelling(schema: Schema | None) -> str | None:
    """The schema as text with its properties in order, which the order of an answer follows."""
    return None if schema is None else json.dumps(schema, ensure_ascii=False)

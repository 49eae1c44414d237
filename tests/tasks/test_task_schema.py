"""JSON Schema: inferred, read, applied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import TaskError
from steelyard.tasks.schema import in_order, infer_schema, misfit, read_schema

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        ([], {}),
        (["a", "b"], {"type": "string"}),
        ([1, 2.5], {"type": "number"}),
        ([True, 1], {"type": ["boolean", "integer"]}),
        ([None, "a"], {"type": ["string", "null"]}),
        ([None], {"type": "null"}),
        ([[]], {"type": "array"}),
        ([[1], ["a", None]], {"type": "array", "items": {"type": ["integer", "string", "null"]}}),
        (["a", ["b"]], {"type": ["string", "array"], "items": {"type": "string"}}),
        (
            [{"b": 1, "a": {"x": []}}, {"a": None, "c": 0.5}],
            {
                "type": "object",
                "properties": {
                    "b": {"type": "integer"},
                    "a": {
                        "type": ["object", "null"],
                        "properties": {"x": {"type": "array"}},
                        "required": ["x"],
                        "additionalProperties": False,
                    },
                    "c": {"type": "number"},
                },
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_the_inferred_schema_is_the_narrowest_plain_one(values: list[Any], schema: Any) -> None:
    inferred = infer_schema(values)
    assert json.dumps(inferred) == json.dumps(schema)  # with the order of keys


@settings(max_examples=100)
@given(OBJECTS)
def test_what_a_schema_was_inferred_from_fits_it(values: list[Any]) -> None:
    schema = infer_schema(values)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert misfit(((str(value), value) for value in values), schema) is None
    assert misfit(iter([("more", {**values[0], "new": 1})]), schema) is not None


@settings(max_examples=100)
@given(OBJECTS)
def test_ordering_keeps_the_value_and_gives_equal_values_one_spelling(values: list[Any]) -> None:
    schema = infer_schema(values)

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    for value in values:
        assert in_order(value, schema) == value
        spelling = json.dumps(in_order(value, schema))
        assert json.dumps(in_order(turned(value), schema)) == spelling
        assert json.dumps(in_order(in_order(value, schema), schema)) == spelling


def test_order_is_found_through_references_choices_and_lists() -> None:
    schema = {
        "type": "object",
        "$defs": {
            "Job": {"properties": {"title": {}, "year": {}, "next": {"$ref": "#/$defs/Job"}}}
        },
        "properties": {
            "name": {},
            "jobs": {"items": {"anyOf": [{"$ref": "#/$defs/Job"}, {"type": "null"}]}},
        },
        "allOf": [{"properties": {"last": {}}}],
    }
    value = {
        "extra": {"b": 1, "a": 2},
        "last": 0,
        "jobs": [{"next": {"year": 2, "title": "b"}, "title": "a"}, None],
        "name": "n",
    }
    assert json.dumps(in_order(value, schema)) == json.dumps(
        {
            "name": "n",
            "jobs": [{"title": "a", "next": {"title": "b", "year": 2}}, None],
            "last": 0,
            "extra": {"b": 1, "a": 2},
        }
    )


REMEDY = "Correct the file, or remove schema from [output] to have it inferred."


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            '{"type": "object",}',
            "s.json: the schema is not valid JSON: Expecting property name enclosed in double "
            f"quotes at column 19. Expected a JSON Schema. {REMEDY}",
        ),
        (
            '["type"]',
            's.json: the schema does not describe an object (its type is ["type"]). '
            f'Expected "type": "object" at its top, as answers are JSON objects. {REMEDY}',
        ),
        (
            '{"type": "string"}',
            's.json: the schema does not describe an object (its type is "string"). '
            f'Expected "type": "object" at its top, as answers are JSON objects. {REMEDY}',
        ),
        (
            '{"type": "object", "properties": {"a": {"type": "strng"}}}',
            "s.json: not a JSON Schema: at $.properties.a.type, 'strng' is not valid under any "
            f"of the given schemas. Expected what the JSON Schema standard allows there. {REMEDY}",
        ),
        (
            '{"type": "object", "properties": {"a": {"pattern": "("}}}',
            "s.json: not a JSON Schema: at $.properties.a.pattern, '(' is not a 'regex'. "
            f"Expected what the JSON Schema standard allows there. {REMEDY}",
        ),
        (
            '{"type": "object", "required": "name"}',
            "s.json: not a JSON Schema: at $.required, 'name' is not of type 'array'. "
            f"Expected what the JSON Schema standard allows there. {REMEDY}",
        ),
        (
            '{"type": "object", "$schema": 5}',
            "s.json: not a JSON Schema: at $['$schema'], 5 is not of type 'string'. "
            f"Expected what the JSON Schema standard allows there. {REMEDY}",
        ),
    ],
)
def test_a_schema_that_is_not_a_schema_is_an_error(
    folder: Path, content: str, expected: str
) -> None:
    Path("s.json").write_text(content, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        read_schema(Path("s.json"))
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("#/$defs/Gone", '"/$defs/Gone", which is not in it'),
        ("https://example.org/s.json", '"https://example.org/s.json", which is not in it'),
        ("#/properties/a", "itself without end"),
    ],
)
def test_a_reference_to_nowhere_is_an_error_and_never_a_download(reference: str, what: str) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": reference}}}
    with pytest.raises(TaskError) as caught:
        misfit(iter([("f:1", {"a": 1})]), schema, Path("s.json"))
    assert str(caught.value) == (
        f"s.json: the schema refers to {what}. Expected references of the form #/$defs/NAME. "
        "Put the definition into the schema."
    )


def test_a_misfit_names_the_place_in_the_target() -> None:
    schema = infer_schema([{"jobs": [{"year": 2020}]}])
    values = [("f:1", {"jobs": [{"year": 1}]}), ("f:2", {"jobs": [{"year": "x" * 500}]})]
    where, why = misfit(iter(values), schema) or ("", "")
    assert where == "f:2"
    assert why.startswith("at $.jobs[0].year, 'xxx")
    assert why.endswith("xxx' is not of type 'integer'")
    assert len(why) < 250

"""What a model is told, word for word."""

from __future__ import annotations

import pytest

from fake_tasks import example
from steelyard.core import Output
from steelyard.models import Message
from steelyard.recipes.prompt import (
    Frame,
    Part,
    build_prompt,
    describe_output,
    sketch,
    target_text,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "level": {"enum": ["junior", "senior", 3]},
        "jobs": {
            "type": "array",
            "items": {"type": "object", "properties": {"title": {"type": "string"}}},
        },
        "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
}


def test_a_prompt_is_instruction_shape_examples_and_input_in_this_order():
    output = Output("label", ("billing", "login"))
    shots = [example("a", "I was charged twice", "billing"), example("b", "Who am I", "login")]
    parts = [Part("example", shot) for shot in shots]
    assert build_prompt(Frame("Route the message.", output), parts, "No mail") == (
        Message(
            "system",
            "Route the message.\nAnswer with one of these labels and nothing else: billing, login",
        ),
        Message("user", "I was charged twice"),
        Message("assistant", "billing"),
        Message("user", "Who am I"),
        Message("assistant", "login"),
        Message("user", "No mail"),
    )


def test_without_description_and_examples_a_prompt_is_instruction_and_input():
    output = Output("json", schema=SCHEMA)
    assert build_prompt(Frame("Extract.", output, describe=False), [], "Ann, senior") == (
        Message("system", "Extract."),
        Message("user", "Ann, senior"),
    )


def test_a_json_prompt_sketches_its_schema_and_shows_targets_on_one_line():
    output = Output("json", schema=SCHEMA)
    shot = example("a", "Zoë", {"name": "Zoë", "jobs": []})
    assert build_prompt(Frame("Extract.", output), [Part("example", shot)], "x")[:3] == (
        Message(
            "system",
            "Extract.\n"
            "Answer with one JSON object of this form and nothing else: "
            '{"name": string or null, "level": "junior" or "senior" or 3, '
            '"jobs": [{"title": string}], "size": integer or null}',
        ),
        Message("user", "Zoë"),
        Message("assistant", '{"name": "Zoë", "jobs": []}'),
    )


def test_free_text_needs_no_description():
    assert describe_output(Output("text")) == ""
    prompt = build_prompt(Frame("Translate.", Output("text")), [], "x")
    assert prompt[0] == Message("system", "Translate.")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (None, "anything"),
        ({}, "anything"),
        ({"type": "array"}, "[anything]"),
        ({"type": "object"}, "{}"),
        ({"oneOf": [{"type": "string"}, {"enum": [None]}]}, "string or null"),
        ({"title": "no type"}, "anything"),
    ],
)
def test_a_sketch_of_a_bare_schema(schema, words):
    assert sketch(schema) == words


def test_a_target_is_written_as_it_is_when_it_is_text_and_as_json_otherwise():
    assert target_text(' "as it is" ') == ' "as it is" '
    assert target_text({"a": [1, None, "é"]}) == '{"a": [1, null, "é"]}'
    assert target_text(None) == "null"

"""What a model is told, word for word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fake_tasks import example, make_task
from steelyard.core import Context, Knowledge, Output, Passage
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


MILL = Passage("m", 0, 9, "Ott built it.", title="Mills")
BARN = Passage("b", 0, 9, "It burnt.")


def test_what_was_looked_up_stands_above_the_question_after_examples_and_turns():
    frame = Frame("Answer.", Output("text"), passages=True)
    parts = [
        Part("passage", MILL, 1),
        Part("record", Passage("r1", 0, 9, "Order 7: a kettle")),
        Part("turn", example("t", "Earlier?", "Then.")),
        Part("passage", BARN),
        Part("example", example("e", "Like?", "So.")),
        Part("record", Passage("r2", 0, 9, "Lives in Oslo")),
    ]
    assert build_prompt(frame, parts, "Who built it?") == (
        Message("system", "Answer.\nAnswer from the passages."),
        Message("user", "Like?"),
        Message("assistant", "So."),
        Message("user", "Earlier?"),
        Message("assistant", "Then."),
        Message(
            "user",
            "About the user:\n- Order 7: a kettle\n- Lives in Oslo\n\n"
            "Passages:\nMills: Ott built it.\nIt burnt.\n\n"
            "Question: Who built it?",
        ),
    )


def test_passages_are_numbered_where_answers_are_to_cite_them():
    frame = Frame("Answer.", Output("text"), passages=True, cite=True)
    prompt = build_prompt(frame, [Part("passage", MILL), Part("passage", BARN)], "Who?")
    shown = "Passages:\n[1] Mills: Ott built it.\n[2] It burnt.\n\nQuestion: Who?"
    assert prompt[-1].content == shown


@pytest.mark.parametrize(
    ("frame", "system"),
    [
        (Frame("Do.", Output("text")), "Do."),
        (
            Frame("Do.", Output("text"), abstain="I do not know."),
            "Do.\nIf you do not know, say: I do not know.",
        ),
        (
            Frame("Do.", Output("text"), abstain="I do not know.", passages=True, cite=True),
            "Do.\nAnswer from the passages. If they do not hold the answer, say: I do not know. "
            "After each sentence name its passage, such as [1].",
        ),
    ],
)
def test_the_rules_of_passages_abstaining_and_citing_follow_the_instruction(frame, system):
    assert build_prompt(frame, [], "x")[0] == Message("system", system)


def test_a_frame_is_what_the_task_knows_and_the_context_uses():
    known = Knowledge(abstain="I do not know.", cite=True)
    task = make_task([example("e", "x")], Output("text"), knowledge=known)
    plain = Frame.of(task, Context())
    assert plain == Frame("Answer.", Output("text"), abstain="I do not know.")
    assert Frame.of(task, Context(passages=2)) == replace(plain, passages=True, cite=True)
    trained = Frame.of(task, Context(describe_output=False, passages=2))
    assert trained == Frame("Answer.", Output("text"), describe=False, passages=True, cite=True)


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

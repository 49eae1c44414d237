"""What a model is told: instruction, shape of the answer, examples, input.

    system     Route the message to a queue.
               Answer with one of these labels and nothing else: billing, login, other
    user       I was charged twice            ┐ one pair per example
    assistant  billing                        ┘
    user       The page says wrong password

The order is fixed and the input comes last, so that prompts of one recipe share all they can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from steelyard.core import Example, Json, Output
from steelyard.models import Message, Prompt


def build_prompt(
    instruction: str, output: Output, shots: Sequence[Example], text: str, *, describe: bool
) -> Prompt:
    """The prompt for one input; `describe` adds the shape of the answer to the instruction."""
    parts = [instruction, describe_output(output) if describe else ""]
    turns = [Message("system", "\n".join(part for part in parts if part))]
    for shot in shots:
        turns += [Message("user", shot.input), Message("assistant", target_text(shot.target))]
    turns.append(Message("user", text))
    return tuple(turns)


def target_text(target: Json) -> str:
    """A target as the model should write it: text as it is, JSON on one line.

    >>> target_text({"name": "Ann", "skills": []})
    '{"name": "Ann", "skills": []}'
    """
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)


def describe_output(output: Output) -> str:
    """One sentence about the shape of the answer; nothing for free text."""
    if output.type == "label":
        return "Answer with one of these labels and nothing else: " + ", ".join(output.labels)
    if output.type == "json":
        return "Answer with one JSON object of this form and nothing else: " + sketch(output.schema)
    return ""


def sketch(schema: Mapping[str, Json] | None) -> str:
    """A schema in the fewest words that still say it.

    >>> sketch({"type": "object", "properties": {"name": {"type": ["string", "null"]},
    ...         "skills": {"type": "array", "items": {"type": "string"}}}})
    '{"name": string or null, "skills": [string]}'
    """
    if not schema:
        return "anything"
    if "enum" in schema:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(sketch(option) for option in schema[key])
    kinds = schema.get("type", "anything")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    return " or ".join(_sketch_kind(kind, schema) for kind in kinds)


def _sketch_kind(kind: str, schema: Mapping[str, Json]) -> str:
    if kind == "object":
        fields = schema.get("properties", {}).items()
        return "{" + ", ".join(f"{json.dumps(k)}: {sketch(v)}" for k, v in fields) + "}"
    if kind == "array":
        return f"[{sketch(schema.get('items'))}]"
    return kind

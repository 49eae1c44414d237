"""What a model is told: instruction, shape of the answer, examples, what was looked up, input.

    system     Answer the question.
               Answer from the passages. If they do not hold the answer, say: I do not know.
    user       Who built the mill?           ┐ one pair per example, then one per earlier turn
    assistant  Ott                           ┘ of the user
    user       About the user:
               - Order 17: a red kettle

               Passages:
               [1] Mills: Ott built the mill in 1888.

               Question: When was the mill built?

The order is fixed and the input comes last, so that prompts of one recipe share all they can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from steelyard.core import Context, Example, Json, Output, Passage, Task
from steelyard.models import Message, Prompt

PartKind = Literal["example", "turn", "record", "passage"]
Content = TypeVar("Content", Example, Passage)


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a prompt may show beside instruction and input.

    Examples and earlier turns are `Example`s, records and passages `Passage`s. `rank` counts from
    the most relevant of its kind.
    """

    kind: PartKind
    content: Example | Passage
    rank: int = 0

    @property
    def name(self) -> str:
        """Names it where something was left out."""
        return f"{self.kind} {self.content.id}"


@dataclass(frozen=True, slots=True)
class Frame:
    """What all prompts of one recipe have in common.

    `describe` adds the shape of the answer to the instruction, and `abstain` the sentence for
    what is not known; `passages` says that there are some to answer from, `cite` to name them.
    """

    instruction: str
    output: Output
    describe: bool = True
    abstain: str | None = None
    passages: bool = False
    cite: bool = False

    @classmethod
    def of(cls, task: Task, context: Context) -> Frame:
        """The frame of a recipe's context for a task."""
        known, looked_up = task.knowledge, context.passages > 0
        return cls(
            instruction=task.instruction if context.instruction is None else context.instruction,
            output=task.output,
            describe=context.describe_output,
            abstain=known.abstain if context.describe_output else None,
            passages=looked_up,
            cite=looked_up and known.cite,
        )

    @property
    def system(self) -> str:
        """The system turn."""
        parts = [self.instruction, describe_output(self.output) if self.describe else ""]
        rules = []
        if self.passages:
            rules.append("Answer from the passages.")
        if self.abstain is not None:
            missing = "they do not hold the answer" if self.passages else "you do not know"
            rules.append(f"If {missing}, say: {self.abstain}")
        if self.cite:
            rules.append("After each sentence name its passage, such as [1].")
        return "\n".join(part for part in [*parts, " ".join(rules)] if part)


def build_prompt(frame: Frame, parts: Sequence[Part], text: str) -> Prompt:
    """The prompt for one input, its parts in the order in which they are given."""
    turns = [Message("system", frame.system)]
    for shot in (*_of(parts, "example", Example), *_of(parts, "turn", Example)):
        turns += [Message("user", shot.input), Message("assistant", target_text(shot.target))]
    asked = f"Question: {text}" if frame.passages else text
    turns.append(Message("user", "\n\n".join([*_looked_up(frame, parts), asked])))
    return tuple(turns)


def _of(parts: Sequence[Part], kind: PartKind, content: type[Content]) -> list[Content]:
    return [p.content for p in parts if p.kind == kind and isinstance(p.content, content)]


def _looked_up(frame: Frame, parts: Sequence[Part]) -> list[str]:
    """What stands above the input. Passages have numbers only where they are to be cited."""
    sections = []
    if records := _of(parts, "record", Passage):
        sections.append("\n".join(["About the user:", *(f"- {r.text}" for r in records)]))
    if passages := _of(parts, "passage", Passage):
        lines = [f"{p.title}: {p.text}" if p.title else p.text for p in passages]
        if frame.cite:
            lines = [f"[{number}] {line}" for number, line in enumerate(lines, 1)]
        sections.append("\n".join(["Passages:", *lines]))
    return sections


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

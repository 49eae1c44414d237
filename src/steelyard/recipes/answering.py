"""A language model and a recipe's context, as a System."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from steelyard.core import Answer, Example, Json, Output, Recipe
from steelyard.models import Backend, Generation, LabelChoice, Prompt, Sampling
from steelyard.recipes.prompt import build_prompt
from steelyard.tasks.rows import parse_json
from steelyard.tasks.schema import misfit

Shots = Callable[[Sequence[str]], list[Sequence[Example]]]
JSON_BEGINS = "{`"  # an object, or a Markdown fence around it
PREPARED_WITH = ("0", "a")  # any two inputs that differ from their first token on
CONTENT_FREE = "N/A"  # Source: Zhao et al. 2021, arXiv:2102.09690, section 5


@dataclass(frozen=True)
class LanguageModelSystem:
    """Answers by prompting `backend`, which carries the recipe's weights if it has any.

    `shots` gives the examples for each input; `max_tokens` bounds an answer; `truncate` says
    whether an input that does not fit is cut at its end or reported as an error.
    """

    recipe: Recipe
    instruction: str
    output: Output
    backend: Backend
    shots: Shots
    max_tokens: int
    truncate: bool = False
    prior: tuple[float, ...] | None = None

    def answer(self, input: str) -> Answer:
        """Answer one input; failures come back as `Answer.error`."""
        return self.answer_many([input])[0]

    def answer_many(self, inputs: Sequence[str]) -> list[Answer]:
        """Answer several inputs together, in their order."""
        prompts = self.prompts(inputs)
        if self.recipe.decoding.kind == "labels":
            chosen = self.backend.choose_labels(prompts, self.output.labels, self.prior)
            return [self._label(choice) for choice in chosen]
        schema = self.output.schema if self.recipe.decoding.kind == "constrained" else None
        begins = JSON_BEGINS if self.output.type == "json" else ""
        sampling = Sampling(self.max_tokens, schema, begins=begins)
        written = self.backend.generate(prompts, sampling)
        return [self._parsed(generation) for generation in written]

    def prompts(self, inputs: Sequence[str]) -> list[Prompt]:
        """What the model is asked for each input, within its context where cutting is allowed."""
        shots = self.shots(inputs)
        if self.truncate:
            inputs = [self._cut(text, own) for text, own in zip(inputs, shots, strict=True)]
        return [self._prompt(text, own) for text, own in zip(inputs, shots, strict=True)]

    def prepare(self) -> None:
        """Have the backend ready for what all our prompts begin with."""
        self.backend.keep(self.prompts(PREPARED_WITH))

    def calibrated(self) -> LanguageModelSystem:
        """The same system, dividing each label's probability by its one on an empty input.

        Source: Zhao et al. 2021, arXiv:2102.09690, with one content-free input.
        """
        [scores] = self.backend.score_labels(self.prompts([CONTENT_FREE]), self.output.labels)
        return replace(self, prior=scores.log_probs or None)

    def _prompt(self, text: str, shots: Sequence[Example]) -> Prompt:
        describe = self.recipe.context.describe_output
        return build_prompt(self.instruction, self.output, shots, text, describe=describe)

    def _cut(self, text: str, shots: Sequence[Example]) -> str:
        """The longest beginning of an input whose prompt leaves room for the answer."""
        room = self.backend.context_tokens - self.max_tokens

        def fits(length: int) -> bool:
            return self.backend.count_tokens(self._prompt(text[:length], shots)) <= room

        if fits(len(text)):
            return text
        low, high = 0, len(text)  # the beginning of length `low` is taken to fit
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return text[:low]

    def _label(self, choice: LabelChoice) -> Answer:
        if choice.error is not None:
            return Answer(valid=False, error=choice.error)
        label = self.output.labels[choice.label]
        return Answer(value=label, text=label, usage=choice.usage)

    def _parsed(self, generation: Generation) -> Answer:
        if generation.error is not None:
            return Answer(valid=False, error=generation.error)
        text = generation.text.strip()
        value, valid = parse(text, self.output)
        return Answer(value=value, text=text, valid=valid, usage=generation.usage)


def parse(text: str, output: Output) -> tuple[Json, bool]:
    """The value of a generated text, and whether it has the form the task asks for.

    JSON is read as strictly as a target and validated against the schema whichever way it was
    decoded; one Markdown code fence around it is forgiven, as every client forgives it.
    """
    if output.type == "label":
        return text, text in output.labels
    if output.type == "text":
        return text, bool(text)
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[3:-3].partition("\n")[2]
    try:
        value = parse_json(text)
    except ValueError:
        return None, False
    return value, misfit(iter([("the answer", value)]), output.schema or {}) is None


def answer_limit(tokens: Sequence[int]) -> int:
    """How many tokens an answer may have: a quarter more than the longest training target.

    >>> answer_limit([10, 40])
    58
    """
    return math.ceil(1.25 * max(tokens)) + 8

"""A language model and a recipe's context, as a System."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from steelyard.core import Answer, Json, Output, Passage, Query, Recipe, Source
from steelyard.knowledge.text import without_marks
from steelyard.models import (
    Backend,
    Generation,
    LabelChoice,
    LabelScorer,
    Listen,
    Prompt,
    Sampling,
)
from steelyard.models.base import TOO_LONG_REMEDY
from steelyard.recipes.finding import Finder
from steelyard.recipes.packing import Packed, Packer
from steelyard.recipes.prompt import Frame, build_prompt
from steelyard.tasks.rows import parse_json
from steelyard.tasks.schema import misfit

JSON_BEGINS = "{`"  # an object, or a Markdown fence around it
PREPARED_WITH = (Query("0"), Query("a"))  # any two inputs that differ from their first token on
CONTENT_FREE = Query("N/A")  # Source: Zhao et al. 2021, arXiv:2102.09690, section 5


@dataclass(frozen=True)
class LanguageModelSystem:
    """Answers by prompting `backend`, which carries the recipe's weights if it has any.

    `find` gives what each query may be shown; `max_tokens` bounds an answer; `truncate` says
    whether an input that does not fit is cut at its end or reported as an error; `alike` are
    targets of others, which answers may resemble: they change how soon an answer is there.
    """

    recipe: Recipe
    frame: Frame
    backend: Backend
    find: Finder
    max_tokens: int
    truncate: bool = False
    prior: tuple[float, ...] | None = None
    alike: tuple[str, ...] = ()

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        """Answer one input of a user at a time; failures come back as `Answer.error`."""
        return self.answer_many([Query(input, user, time)])[0]

    def answer_many(self, queries: Sequence[Query], listen: Listen | None = None) -> list[Answer]:
        """Answer several queries together, in their order.

        `listen` hears the texts that are generated as they grow, and ends one when it says so.
        """
        packed = self.pack(queries)
        beyond = [self._beyond(one.prompt) for one in packed]
        places = [place for place, why in enumerate(beyond) if why is None]
        written = iter(self._ask([packed[place].prompt for place in places], places, listen))
        answers = [
            next(written) if why is None else Answer(valid=False, error=why) for why in beyond
        ]
        return [self._sourced(a, one) for a, one in zip(answers, packed, strict=True)]

    def prompts(self, queries: Sequence[Query]) -> list[Prompt]:
        """What the model is asked for each query."""
        return [one.prompt for one in self.pack(queries)]

    def pack(self, queries: Sequence[Query]) -> list[Packed]:
        """The prompt of each query and what it shows, within the budget.

        An input that alone is beyond it is cut where cutting is allowed, and left to fail where
        it is not.
        """
        packer = Packer(self.frame, self.backend.count_tokens, self.budget)
        found = self.find(queries)
        if not self.truncate:
            return [packer.pack(q.input, own) for q, own in zip(queries, found, strict=True)]
        return [
            packer.pack(self.cut(query.input), own)
            for query, own in zip(queries, found, strict=True)
        ]

    @property
    def budget(self) -> int:
        """How many tokens a prompt may have."""
        room = self.backend.context_tokens - self.max_tokens
        own = self.recipe.context.budget_tokens
        return room if own is None else min(room, own)

    def _beyond(self, prompt: Prompt) -> str | None:
        """The error of a prompt that is over the recipe's own budget even with nothing found."""
        budget = self.recipe.context.budget_tokens
        if budget is None or (tokens := self.backend.count_tokens(prompt)) <= self.budget:
            return None
        return (
            f"the instruction and the input have {tokens} tokens and the budget is {self.budget}; "
            f"{TOO_LONG_REMEDY}"
        )

    def prepare(self) -> None:
        """Have the backend ready for what all our prompts begin with."""
        self.backend.keep(self.prompts(PREPARED_WITH))

    def calibrated(self) -> LanguageModelSystem:
        """The same system, dividing each label's probability by its one on an empty input.

        Source: Zhao et al. 2021, arXiv:2102.09690, with one content-free input.
        """
        prompts = self.prompts([CONTENT_FREE])
        assert isinstance(self.backend, LabelScorer), "recipes/allowing.py leaves others out"
        [scores] = self.backend.score_labels(prompts, self.frame.output.labels)
        return replace(self, prior=scores.log_probs or None)

    def _ask(
        self, prompts: Sequence[Prompt], places: Sequence[int], listen: Listen | None
    ) -> list[Answer]:
        output = self.frame.output
        if self.recipe.decoding.kind == "labels":
            chosen = self.backend.choose_labels(prompts, output.labels, self.prior)
            return [self._label(choice) for choice in chosen]
        schema = output.schema if self.recipe.decoding.kind == "constrained" else None
        begins = JSON_BEGINS if output.type == "json" else ""
        sampling = Sampling(self.max_tokens, schema, begins=begins, alike=self.alike)
        if listen is None:
            written = self.backend.generate(prompts, sampling)
        else:
            hear = listen
            written = self.backend.generate(
                prompts, sampling, lambda number, text: hear(places[number], text.strip())
            )
        return [self._parsed(generation) for generation in written]

    def cut(self, text: str, *, before: str = "") -> str:
        """The longest beginning of an input whose prompt is within the budget.

        `before` stands after it and stays whole.
        """

        def fits(length: int) -> bool:
            prompt = build_prompt(self.frame, [], text[:length] + before)
            return self.backend.count_tokens(prompt) <= self.budget

        if fits(len(text)):
            return text
        low, high = 0, len(text)  # the beginning of length `low` is taken to fit
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return text[:low]

    def _sourced(self, answer: Answer, packed: Packed) -> Answer:
        """An answer with what it was shown, where the recipe looks something up."""
        if not self.recipe.context.passages:
            return replace(answer, left_out=packed.left_out)
        shown = [p.content for p in packed.parts if p.kind == "passage"]
        sources = tuple(
            Source(p.id, p.document, p.text, p.also) for p in shown if isinstance(p, Passage)
        )
        return replace(answer, sources=sources, left_out=packed.left_out)

    def _label(self, choice: LabelChoice) -> Answer:
        if choice.error is not None:
            return Answer(valid=False, error=choice.error, usage=choice.usage)
        label = self.frame.output.labels[choice.label]
        return Answer(value=label, text=label, usage=choice.usage)

    def _parsed(self, generation: Generation) -> Answer:
        if generation.error is not None:
            return Answer(valid=False, error=generation.error, usage=generation.usage)
        text = generation.text.strip()
        value, valid = parse(without_marks(text) if self.frame.cite else text, self.frame.output)
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


def answer_limit(tokens: Sequence[int], context_tokens: int) -> int:
    """How many tokens an answer may have: a quarter more than the longest training target.

    One generation holds at most half of the model's context, so that there is room for a prompt.

    >>> answer_limit([10, 40], 2048)
    58
    """
    return min(math.ceil(1.25 * max(tokens)) + 8, context_tokens // 2)

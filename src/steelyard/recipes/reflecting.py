"""An instruction rewritten by a model that reads how it did on rows of train (GEPA).

    instruction ─→ answers to 8 rows of train, with scores and right answers ─→ reflection model
         ↑                                                                           │
         └── kept if it does better on those rows, and ranked on the course ←── another one

The course are rows of train that are shown to nobody. The first instruction runs against all that
come after it; where none is better it stays. All the answers and replies are kept as they come,
and the search is seeded, so that an interrupted one repeats none of them.

Source: Agrawal et al. 2025, arXiv:2507.19457, as the library `gepa` has it; the sizes are ours.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from steelyard.core import Example, Json, ModelSpec, Recipe, Usage, digest
from steelyard.errors import SearchError, need
from steelyard.models import Message, Sampling, Writer
from steelyard.recipes.prompt import target_text
from steelyard.recipes.searching import Found, Ground, Heat, run, split_train

NUM_ANSWERS = (
    400  # of the model that is weighed; the reflection model then replies 23 times at most
)
NUM_COURSE = 32
NUM_REFLECTED = 8  # rows that one reply reads
REPLY_TOKENS = 2048
TEMPERATURE = 1.0  # other replies to like prompts are what the search lives on
PART = "instruction"  # what gepa calls a component


def check_reflection() -> None:
    """Say early that the library is missing.

    Raises:
        MissingExtraError: it is.
    """
    need("gepa", "gepa")


@dataclass
class Reflector:
    """The reflection model as gepa calls it: a prompt's reply, asked for once and kept.

    gepa goes on where a reply fails. A search without replies would pass for one that found
    nothing better, so that the first failure is kept, and ends it.
    """

    spec: ModelSpec
    writer: Writer
    ground: Ground
    usage: Usage = Usage()
    seconds: float = 0.0
    num_replies: int = 0
    failure: Exception | None = None
    total_cost: float = 0.0  # gepa's own count, which it asks for: ours is by the task's prices

    def __call__(self, prompt: str | list[dict[str, Any]]) -> str:
        if self.failure is not None:
            raise self.failure
        try:
            return self._reply(str(prompt))
        except Exception as error:
            self.failure = error
            raise

    def _reply(self, prompt: str) -> str:
        key = f"reply:{digest([self.spec.url, self.spec.source, self.ground.seed, prompt])}"
        database = self.ground.database
        if (stored := database.build(key)) is None:
            self.ground.check_time()
            started = time.perf_counter()
            [reply] = self.writer.generate(
                [(Message("user", prompt),)],
                Sampling(REPLY_TOKENS, temperature=TEMPERATURE, seed=self.ground.seed % 2**31),
            )
            if reply.error is not None:
                raise SearchError(reply.error)
            used = reply.usage
            counts = [used.prompt_tokens, used.cached_tokens, used.completion_tokens]
            details = {"text": reply.text, "usage": counts}
            database.add_build(key, None, time.perf_counter() - started, details)
            stored = database.build(key)
            assert stored is not None
        _, seconds, details = stored
        before = (self.usage.prompt_tokens, self.usage.cached_tokens, self.usage.completion_tokens)
        self.usage = Usage(*(a + b for a, b in zip(before, details["usage"], strict=True)))
        self.seconds += seconds
        self.num_replies += 1
        return str(details["text"])


@dataclass
class Adapter:
    """Our systems as gepa runs them."""

    recipe: Recipe
    ground: Ground
    seconds: float = 0.0
    num_answers: int = 0
    propose_new_texts: None = None
    heats: dict[int, Heat] = field(default_factory=dict)

    def with_instruction(self, text: str) -> Recipe:
        """The recipe with that instruction, and nothing left to search for."""
        own = None if text == self.ground.task.instruction else text
        context = replace(self.recipe.context, instruction=own, reflection=None)
        return replace(self.recipe, context=context)

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> Any:
        """How an instruction does on some rows.

        gepa wants a number for each of them. A row that cannot be answered has no score with any
        instruction: its 0 stands on both sides of every comparison.
        """
        batches: Any = need("gepa.core.adapter", "gepa")
        heat = run(self.with_instruction(candidate[PART]), batch, self.ground)
        self.seconds += heat.seconds
        self.num_answers += len(batch)
        self.ground.told(min(self.num_answers, NUM_ANSWERS), NUM_ANSWERS)
        scores = [0.0 if score is None else score for score in heat.scores]
        traces = list(zip(batch, heat.texts, heat.scores, strict=True))
        return batches.EvaluationBatch(
            outputs=list(heat.texts),
            scores=scores,
            trajectories=traces if capture_traces else None,
        )

    def make_reflective_dataset(
        self, _candidate: dict[str, str], eval_batch: Any, _components: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Json]]]:
        """What the reflection model reads of these rows."""
        return {
            PART: [
                {
                    "Inputs": example.input,
                    "Generated Outputs": text,
                    "Feedback": _feedback(example, score),
                }
                for example, text, score in eval_batch.trajectories
            ]
        }


def reflect(recipe: Recipe, ground: Ground, spec: ModelSpec, writer: Writer) -> Found:
    """The recipe with the instruction that did best on the course, perhaps its own.

    Raises:
        SearchError: train is too small, the reflection model failed, or the deadline passed.
    """
    gepa: Any = need("gepa", "gepa")
    shown, course = split_train(ground.task, ground.seed)
    adapter = Adapter(recipe, ground)
    reflector = Reflector(spec, writer, ground)
    first = ground.task.instruction
    if recipe.context.instruction is not None:
        first = recipe.context.instruction
    result = gepa.optimize(
        seed_candidate={PART: first},
        trainset=shown,
        valset=course[:NUM_COURSE],
        adapter=adapter,
        reflection_lm=reflector,
        reflection_minibatch_size=min(NUM_REFLECTED, len(shown)),
        max_metric_calls=NUM_ANSWERS,
        stop_callbacks=[lambda _state: reflector.failure is not None],
        logger=_Quiet(),
        track_best_outputs=False,
        seed=ground.seed,
    )
    if reflector.failure is not None:
        raise reflector.failure
    best = adapter.with_instruction(result.best_candidate[PART])
    scores = result.val_aggregate_scores
    tried = f"{reflector.num_replies} rewritings by {spec.name} on {len(result.val_subscores[0])}"
    if best.context.instruction is None:
        note = f"{recipe.name} keeps the task's instruction: none of {tried} rows of train beat it."
    else:
        note = (
            f'{recipe.name} says "{best.context.instruction}": the best of {tried} rows of train, '
            f"{scores[result.best_idx]:.3f} against {scores[0]:.3f}."
        )
    return Found(best, note, adapter.seconds + reflector.seconds, reflector.usage)


def _feedback(example: Example, score: float | None) -> str:
    if score is None:
        return "No answer came back."
    right = " or ".join(target_text(target) for target in (example.target, *example.also))
    return f"Score {score:.2f} of 1. The right answer is: {right}"


class _Quiet:
    """gepa's log goes nowhere."""

    def log(self, message: str) -> None:
        """Nothing."""

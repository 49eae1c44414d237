"""What a model has lost by training, measured with prompts that have nothing to do with the task.

divergence  the base answers neutral prompts; how much less likely the trained model finds
            those answers. It needs no data.
retention   files that the user names, asked of the base and of the trained model: multiple
            choice by log-probability, or the last word of a text
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json
from steelyard.measure.statistics import paired
from steelyard.models import Backend, Message, Prompt, Reader, Sampling
from steelyard.tasks import RetentionItem, read_retention

# Source: ours: what an assistant is asked on any day, and no task of anybody's.
NEUTRAL: tuple[str, ...] = (
    "Why is the sky blue?",
    "Write two sentences about a river.",
    "What is the capital of Italy?",
    "Explain how to boil an egg.",
    "Name three animals that live in the sea.",
    "What is the difference between a noun and a verb?",
    "Write a short greeting to a new neighbour.",
    "How many days are in a week?",
    "Give one reason to drink water.",
    "Tell me about the moon.",
    "What does a librarian do?",
    "Complete the sentence: On a cold morning,",
    "Write a function that adds two numbers in Python.",
    "What is 12 plus 30?",
    "Describe a bicycle to a child.",
    "Who wrote Romeo and Juliet?",
)
ANSWER_TOKENS = 32  # 16 such answers take a CPU two seconds. Source: ours
RETENTION_ROWS = 100  # of each file, evenly spaced. Source: ours


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a trained model is from its base, in nats per token of the base's own answers.

    The Kullback–Leibler divergence of the next token's probabilities, over answers sampled from
    the base; 0 is no change.
    """

    nats_per_token: float
    num_prompts: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Retention:
    """The share of a file's rows that a model gets right, before and after training."""

    name: str
    before: float
    after: float
    interval: tuple[float, float]
    num_examples: int


def divergence(base: Backend, trained: Backend, *, seed: int) -> Divergence | None:
    """How far `trained` is from `base`; None where they cannot tell, or nothing was answered."""
    if not isinstance(base, Reader) or not isinstance(trained, Reader):
        return None
    prompts: list[Prompt] = [(Message("user", text),) for text in NEUTRAL]
    written = base.generate(prompts, Sampling(ANSWER_TOKENS, temperature=1.0, seed=seed))
    pairs: list[tuple[Prompt | str, str]] = [
        (prompt, answer.text)
        for prompt, answer in zip(prompts, written, strict=True)
        if answer.error is None and answer.text
    ]
    nats = trained.divergence(base, pairs)
    return Divergence(_mean(nats), len(pairs), len(nats)) if nats else None


def retention(base: Backend, trained: Backend, file: Path, *, seed: int) -> Retention | None:
    """What base and trained model make of a retention file; None where they cannot tell."""
    if not isinstance(base, Reader) or not isinstance(trained, Reader):
        return None
    items = evenly(read_retention(file), RETENTION_ROWS)
    before, after = (right(one, items) for one in (base, trained))
    groups = list(range(len(items)))
    found = paired(after, before, groups, seed=seed)
    return Retention(file.stem, _mean(before), _mean(after), found.interval, len(items))


def right(model: Reader, items: Sequence[RetentionItem]) -> list[float]:
    """1 for each item that a model gets right, and 0 for any other.

    Of several endings the right one must have the largest log-probability per character, so that
    short ones have no advantage; an only one must be what the model would have written.
    """
    pairs: list[tuple[Prompt | str, str]] = [
        (item.text, f" {ending}") for item in items for ending in item.endings
    ]
    readings = iter(model.read(pairs))
    found = []
    for item in items:
        own = [next(readings) for _ in item.endings]
        if len(own) == 1:
            found.append(float(own[0].greedy))
            continue
        means = [
            sum(reading.log_probs) / len(ending) if reading.log_probs else -math.inf
            for reading, ending in zip(own, item.endings, strict=True)
        ]
        found.append(float(means.index(max(means)) == item.answer))
    return found


def evenly(rows: Sequence[RetentionItem], count: int) -> list[RetentionItem]:
    """At most `count` rows, at even distances."""
    if len(rows) <= count:
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]


def plain(found: Divergence | Retention) -> Json:
    """As the verdict's JSON holds it."""
    return {name: getattr(found, name) for name in found.__slots__}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

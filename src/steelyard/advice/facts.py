"""What is known of a task, from its file, from answers to questions, or from a measurement."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from steelyard.core import Task, Weights
from steelyard.errors import InputError, ModelError, unknown
from steelyard.recipes import has_users
from steelyard.recipes.presets import SHOTS
from steelyard.training.planner import Setup, make_plan, read_facts, this_machine

Fact = float | bool | str
Facts = Mapping[str, Fact]
YES, NO = ("yes", "true", "y"), ("no", "false", "n")
MODEL_ROWS = 512  # tokens of a row that a plan to train is made for. Source: ours


@dataclass(frozen=True, slots=True)
class Question:
    """A fact that may be given as NAME=VALUE, and how it is asked for."""

    name: str
    kind: Literal["number", "yes", "choice"]
    question: str
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What a value looks like, in words."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        return "a number from 0 on" if self.kind == "number" else "yes or no"


def _read() -> dict[str, Question]:
    tables = tomllib.loads(files("steelyard.advice").joinpath("facts.toml").read_text("utf-8"))
    return {
        name: Question(name, t["kind"], t["question"], tuple(t.get("choices", ())))
        for name, t in tables.items()
    }


QUESTIONS = _read()


def parse_fact(name: str, value: str) -> Fact:
    """A fact as it is written on the command line or typed as an answer.

    >>> parse_fact("labels", "50"), parse_fact("documents", "yes"), parse_fact("changes", "daily")
    (50.0, True, 'daily')

    Raises:
        InputError: there is no such fact, or it cannot have this value.
    """
    if name not in QUESTIONS:
        raise InputError(unknown("fact", name, QUESTIONS))
    question, word = QUESTIONS[name], value.strip().lower()
    if question.kind == "choice" and word in question.choices:
        return word
    if question.kind == "yes" and word in (*YES, *NO):
        return word in YES
    if question.kind == "number":
        number = _number(word)
        if number is not None:
            return number
    raise InputError(f"{name}={value}: expected {question.expected}. {question.question}")


def _number(word: str) -> float | None:
    try:
        number = float(word.replace(",", "").replace("_", ""))
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def facts_of(task: Task) -> dict[str, Fact]:
    """What a task file and this machine say without being asked."""
    found: dict[str, Fact] = {
        "labels": float(len(task.train)),
        "dev": float(len(task.dev)),
        "output": task.output.type,
        "documents": bool(task.knowledge.documents),
        "users": has_users(task),
        "hosted": all(model.url is not None for model in task.models),
        "teacher": bool(task.unlabelled),
    }
    if task.output.labels:
        found["classes"] = float(len(task.output.labels))
    if task.limits.p95_ms is not None:
        found["p95_ms"] = task.limits.p95_ms
    machine = this_machine()
    found["gpu"] = machine.is_gpu
    sizes = []
    for model in task.models:
        if model.url is not None:
            continue
        try:
            sizes.append(read_facts(model.source))
        except (InputError, ModelError):
            continue
    if sizes:
        largest = max(sizes, key=lambda shape: shape.parameters)
        found["model_b"] = largest.parameters / 1e9
        setup = Setup("lora", seq=min(MODEL_ROWS, largest.context_tokens or MODEL_ROWS))
        found["trainable"] = make_plan(largest, setup, [(machine, 1)]).fits
    return found


def with_derived(facts: Facts) -> dict[str, Fact]:
    """The facts, and what follows from several of them.

    `pays_back` is the number of answers over that from which training costs less than the shots
    of all prompts, 2 · epochs · labels / shots: training a token with an adapter takes twice as
    much as reading it.
    Source: Liu et al. 2022, arXiv:2205.05638, table 1.
    """
    found = dict(facts)
    labels, volume = found.get("labels"), found.get("volume")
    if isinstance(labels, float) and isinstance(volume, float) and labels > 0:
        shots = SHOTS[str(found.get("output", "text"))]
        found["pays_back"] = volume / (2 * Weights().epochs * labels / shots)
    return found

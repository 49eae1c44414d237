"""What the user wants: rows, output, models, limits, documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from steelyard.core.values import Json, Split, Usage


@dataclass(frozen=True, slots=True)
class Example:
    """One row. `target` is a string (text, label) or a JSON value (json).

    `group` names the cluster: rows of a group stay in one split and are resampled together.
    `also` holds further answers that are as right as the target; `evidence` the ids of the
    documents that hold the answer.
    """

    id: str
    input: str
    target: Json
    group: str
    user: str | None = None
    time: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    also: tuple[Json, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one input, of which `chosen` is the better one."""

    input: str
    chosen: Json
    rejected: Json
    group: str


@dataclass(frozen=True, slots=True)
class Output:
    """What an answer must look like: free text, one of `labels`, or JSON fitting `schema`."""

    type: Literal["text", "label", "json"]
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A base model by name: "default", a folder, a .gguf file, a hub id, or a URL table.

    The fields from `url` on are those of a model behind a URL, of which `source` is the name there.
    Units: prices are US dollars for a million tokens, `timeout_s` is seconds for a whole answer,
    `concurrency` is requests under way at once. `tokenizer` is a folder with the model's own.
    `engine` says what runs a model that is here.
    """

    name: str
    source: str
    url: str | None = None
    key_env: str | None = None
    usd_per_1m_input: float | None = None
    usd_per_1m_cached: float | None = None
    usd_per_1m_output: float | None = None
    context_tokens: int | None = None
    concurrency: int = 8  # what every provider's smallest plan bears. Source: ours
    timeout_s: float = 300.0  # a long answer of a large model takes minutes. Source: ours
    tokenizer: str | None = None
    plain_http: bool = False
    engine: Literal["torch", "llama.cpp"] = "torch"

    def usd(self, usage: Usage) -> float | None:
        """US dollars for tokens; None where they have no price.

        Cached ones without a price of their own cost as input.
        """
        if self.usd_per_1m_input is None:
            return None
        cached = self.usd_per_1m_cached
        fresh = usage.prompt_tokens - usage.cached_tokens
        return (
            fresh * self.usd_per_1m_input
            + usage.cached_tokens * (self.usd_per_1m_input if cached is None else cached)
            + usage.completion_tokens * (self.usd_per_1m_output or 0.0)
        ) / 1e6


@dataclass(frozen=True, slots=True)
class Limits:
    """What the answer may cost, and what to do with an input longer than the model's context.

    `memory_gb` bounds what answering and training hold beside the model. `usd` bounds what is paid
    for the tokens of models behind URLs, over all runs of the task in one home folder.
    """

    minutes: float | None = None
    usd_per_1k: float | None = None
    p95_ms: float | None = None
    too_long: Literal["error", "truncate"] = "error"
    memory_gb: float = 2.0  # more answers and trains no faster on two cores. Source: ours
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What can be looked up for an input, and what an answer may do with it.

    `documents` are files and folders, and `history` is a file of records of users. `abstain` is
    the sentence that says that the answer is not known; it is the target of the rows that nothing
    answers. `cite`: answers name passages. `paraphrase` is the model that says documents in other
    words for training, `copies` times each.
    """

    documents: tuple[Path, ...] = ()
    history: Path | None = None
    abstain: str | None = None
    cite: bool = False
    paraphrase: ModelSpec | None = None
    copies: int = 3  # Source: ours, docs/log/2026-11-26-objectives.md


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for on train, beside the recipes that are plain values.

    `examples`: which ones a prompt shows, in which order. `reflection` is the model that rewrites
    the instruction.
    """

    examples: bool = False
    reflection: ModelSpec | None = None


@dataclass(frozen=True, slots=True)
class Refresh:
    """When what is served of a task is refreshed without being asked: see docs/refresh.md.

    `on_drift`: as soon as one of the signs of drift is there. `rollback`: a refreshed release that
    users score lower than they did the one before gives its place back. `canary`: it is first the
    challenger, which answers that share of the requests to the champion.
    """

    every_hours: float | None = None
    on_drift: bool = False
    rollback: bool = True
    canary: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What the user wants, with the rows already read, checked and split.

    `hash` covers everything that can change an answer or a score of a plain recipe: instruction,
    output, scorer, rows, splits, documents and records. `instructions` are variants of the
    instruction; like the models they belong to recipes, whose keys hold them. `notes` are
    sentences about what was inferred, folded or carved out. `engines` are all that tables describe,
    weighed or not: a release may be served through one of them. `unlabelled` inputs and
    `preferences` are there to learn from, beside train; `retention` are files of what a trained
    model should not forget.
    """

    name: str
    instruction: str
    output: Output
    scorer: str
    tolerance: float
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    hash: str
    models: tuple[ModelSpec, ...] = (ModelSpec("default", "default"),)
    usd_per_machine_hour: float = 0.10
    usd_per_label: float = 0.0
    limits: Limits = Limits()
    notes: tuple[str, ...] = ()
    path: Path | None = None
    knowledge: Knowledge = Knowledge()
    instructions: tuple[str, ...] = ()
    search: Search = Search()
    unlabelled: tuple[str, ...] = ()
    preferences: tuple[Preference, ...] = ()
    retention: tuple[Path, ...] = ()
    refresh: Refresh = Refresh()
    engines: tuple[ModelSpec, ...] = ()

    def split(self, name: Split) -> tuple[Example, ...]:
        """The rows of one split."""
        splits: dict[str, tuple[Example, ...]] = {
            "train": self.train,
            "dev": self.dev,
            "test": self.test,
        }
        return splits[name]

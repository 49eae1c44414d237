"""The nouns. Read this file first.

    Task ──┐
           ├─ build ─→ System ── measured on a split ──→ Trial ─┐
    Recipe ┘                                                    ├─ compared ─→ Verdict
                                                     other Trials┘

Everything here is frozen data with no behaviour beyond its own arithmetic. `System` and
`Scorer` are protocols: anything with these methods can be measured, ours or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
Json = Any  # what json.loads returns


def digest(value: Json) -> str:
    """The hex SHA-256 of a JSON value in its one canonical spelling.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def cut(text: str, width: int = 60) -> str:
    """A text on one line of at most so many characters.

    >>> cut("Name the intent of the ticket.", width=10)
    'Name the …'
    """
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


# ---------------------------------------------------------------- what the user wants


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
    users score lower than they did the one before gives its place back.
    """

    every_hours: float | None = None
    on_drift: bool = False
    rollback: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """What the user wants, with the rows already read, checked and split.

    `hash` covers everything that can change an answer or a score of a plain recipe: instruction,
    output, scorer, rows, splits, documents and records. `instructions` are variants of the
    instruction; like the models they belong to recipes, whose keys hold them. `notes` are
    sentences about what was inferred, folded or carved out. `unlabelled` inputs and `preferences`
    are there to learn from, beside train; `retention` are files of what a trained model should not
    forget.
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

    def split(self, name: Split) -> tuple[Example, ...]:
        """The rows of one split."""
        splits: dict[str, tuple[Example, ...]] = {
            "train": self.train,
            "dev": self.dev,
            "test": self.test,
        }
        return splits[name]


# ---------------------------------------------------------------- what can be looked up


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: `text` is the document's `text[start:end]`.

    `relevance` orders the passages of one search, larger first; its scale is that search's own.
    `time` is when what it says began to hold, if the document says so. `also` are further
    documents that say the same there, and for which this passage stands.
    """

    document: str
    start: int
    end: int
    text: str
    title: str = ""
    headings: tuple[str, ...] = ()
    page: int | None = None
    time: str | None = None
    relevance: float = 0.0
    also: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Names it for citations: the document and the characters of it."""
        return f"{self.document}:{self.start}-{self.end}"


# ---------------------------------------------------------------- one way to adapt


@dataclass(frozen=True, slots=True)
class Context:
    """What goes into the prompt.

    `instruction` takes the place of the task's own; `reflection` names the model that rewrites it
    when the recipe is built. `describe_output` adds the labels or the schema to it; weights
    trained without them have learned the form and save those tokens.

    `num_examples` counts the shots: the same ones for every input (`fixed`; `shuffled`: with each
    other's targets) or the nearest ones to each input (`nearest`). `shots` names the fixed ones by
    id, in their order; otherwise they are drawn. `searched` ones are found when the recipe is
    built, and an instruction of the task's with them.

    `passages` counts those shown: found by `search`, put in order by `rerank`, and none whose
    relevance, on the scale of what ranked them last, is under `relevance_floor`. Two values of
    `search` are no searches: `evidence` takes passages of the documents that hold the answer,
    `random` takes any. `as_of` says of which documents: of those that held when it was `asked`, or
    of `any` time, whatever their dates. `order` says at which end the best one stands; `best_last`
    is next to the question. Source of its default: ours, docs/log/2026-11-26-time-and-users.md

    `num_turns` counts the earlier turns and records of the user who asks: the `last` ones, or
    those `nearest` to the input. `budget_tokens` bounds the prompt; without it the model's own
    context does.
    """

    describe_output: bool = True
    examples: Literal["none", "fixed", "nearest", "shuffled", "searched"] = "none"
    num_examples: int = 0
    passages: int = 0
    search: Literal["lexical", "vector", "hybrid", "evidence", "random"] = "hybrid"
    rerank: Literal["none", "maxsim", "llm"] = "none"
    relevance_floor: float | None = None
    as_of: Literal["asked", "any"] = "asked"
    order: Literal["best_last", "best_first"] = "best_last"
    history: Literal["none", "last", "nearest"] = "none"
    num_turns: int = 0
    budget_tokens: int | None = None
    instruction: str | None = None
    reflection: str | None = None
    shots: tuple[str, ...] = ()

    @property
    def embeds(self) -> bool:
        """Whether an embedder is needed: for the nearest examples, or to index what is found."""
        looked_up = self.passages > 0 or self.history != "none"
        return self.examples == "nearest" or looked_up

    def __str__(self) -> str:
        parts = ["instruction" if self.instruction is None else f'"{cut(self.instruction)}"']
        if self.reflection is not None:
            parts[0] += f" rewritten by {self.reflection}"
        if self.describe_output:
            parts.append("output description")
        if self.examples != "none":
            parts.append(f"{self.num_examples} {self.examples} examples")
        if self.history != "none":
            parts.append(f"{self.num_turns} {self.history} turns of the user")
        if self.passages:
            how = self.search if self.rerank == "none" else f"{self.search}, {self.rerank}"
            floor = "" if self.relevance_floor is None else f", from {self.relevance_floor:g}"
            dates = ", of any date" if self.as_of == "any" else ""
            parts.append(f"{self.passages} passages ({how}{floor}{dates})")
        whole = " + ".join(parts)
        return whole if self.budget_tokens is None else f"{whole}, {self.budget_tokens} tokens"


Objective = Literal["documents", "inputs", "examples", "teacher", "preferences"]
# Full weights learn at about a tenth of LoRA's rate: "LoRA Without Regret" (Schulman et al. 2025).
LEARNING_RATES = {"none": 0.0, "lora": 1e-3, "qlora": 1e-3, "full": 1e-4, "head": 0.0}


@dataclass(frozen=True, slots=True)
class Weights:
    """What is learned, and how. The numbers are explained in docs/weights.md.

    `lora` trains low-rank updates of every linear layer, `qlora` does so on a base of four bits,
    and `full` trains all there is. `head` trains a classifier on features that stay as they are, to
    which no number below applies. `rank_stabilised` scales an update by alpha / √rank instead of
    alpha / rank, and `dora` learns the length of each row of weights apart from its direction.
    `dropout` is the share of an update's input that is set to nought while it learns.

    `learn` names the stages, one after the other, each going on from the weights of the one
    before: the text of the `documents`, the text of `inputs`, the targets of `examples`, what a
    `teacher` answers, and which of two answers is preferred (`preferences`).

    `evidence_share` of the rows whose evidence is known are shown a passage of it, the others near
    misses alone; it matters where the context has passages. `replay_share` of what is read with
    documents and inputs is text of the base's own. Of each document `paraphrases` copies are read
    too, that `paraphrase_model` writes in other words. `teacher` is the context that teaches, and
    `teacher_model` the model that does; without one the base teaches itself.

    Units: `learning_rate` is the peak (None: as `LEARNING_RATES` has it); `batch_size` is rows per
    optimiser step; `epochs` is the most that early stopping allows, `patience` how many of them
    may pass without a new best.
    """

    method: Literal["none", "lora", "qlora", "full", "head"] = "none"
    rank: int = 16
    alpha: int = 32
    rank_stabilised: bool = False
    dora: bool = False
    dropout: float = 0.0
    learning_rate: float | None = None
    epochs: int = 3
    batch_size: int = 16
    warmup_share: float = 0.06
    weight_decay: float = 0.0
    patience: int = 1
    learn: tuple[Objective, ...] = ("examples",)
    evidence_share: float = 0.8  # Source: 40-100 % in RAFT, Zhang et al. 2024, arXiv:2403.10131
    replay_share: float = 0.1
    paraphrases: int = 0
    paraphrase_model: str | None = None
    teacher: Context | None = None
    teacher_model: str | None = None

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up."""
        given = self.learning_rate
        return LEARNING_RATES[self.method] if given is None else given

    def __str__(self) -> str:
        if self.method in ("none", "head"):
            return self.method
        kind = self.method + " rank-stabilised" * self.rank_stabilised + " DoRA" * self.dora
        size = "" if self.method == "full" else f" r={self.rank}"
        learned = "" if self.learn == ("examples",) else f", {' then '.join(self.learn)}"
        return f"{kind}{size}{learned}"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the answer is read off the model.

    `free` generates; `constrained` generates under the JSON Schema; `labels` scores every label
    and takes the likeliest, `calibrated` after dividing by its score on an empty input;
    `sections` generates an outline, then each section with what is found for it.
    """

    kind: Literal["free", "constrained", "labels", "sections"] = "free"
    calibrated: bool = False

    def __str__(self) -> str:
        return f"{self.kind}, calibrated" if self.calibrated else self.kind


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to adapt: model × context × weights × decoding, under a name.

    The name is not part of the identity: two recipes of one `key` are the same system.
    Controls (`majority`, `tfidf`) are recipes whose model is themselves.
    """

    name: str
    model: str = "default"
    context: Context = Context()
    weights: Weights = Weights()
    decoding: Decoding = Decoding()

    @property
    def key(self) -> str:
        """The hash of everything but the name."""
        return digest(asdict(replace(self, name="")))

    @property
    def contexts(self) -> tuple[Context, ...]:
        """Its own context, and that of the teacher of its weights, if they have one."""
        teacher = self.weights.teacher
        return (self.context,) if teacher is None else (self.context, teacher)

    @property
    def embeds(self) -> bool:
        """Whether an embedder is needed: to look something up, or for the features of a head."""
        return self.weights.method == "head" or any(one.embeds for one in self.contexts)


# ---------------------------------------------------------------- something that answers


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. `cached_tokens` of the prompt were computed for an earlier one.

    `estimated`: a server told no numbers that can be true, and they were counted here.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One input, who asks it and when (ISO 8601).

    `example` is the row that it comes from, which is never shown to itself. `evidence` are the
    documents that hold the answer: only diagnostic recipes look at them.
    """

    input: str
    user: str | None = None
    time: str | None = None
    example: str | None = None
    evidence: tuple[str, ...] = ()

    @classmethod
    def of(cls, example: Example) -> Query:
        """What is asked of a System when it is measured on an example."""
        return cls(example.input, example.user, example.time, example.id, example.evidence)


@dataclass(frozen=True, slots=True)
class Source:
    """A passage as it stood in the prompt, perhaps with fewer of its sentences.

    An answer's first source is the one that it cites as [1]. `also` are further documents that
    say the same.
    """

    passage: str
    document: str
    text: str
    also: tuple[str, ...] = ()

    @property
    def documents(self) -> frozenset[str]:
        """All documents that it comes from."""
        return frozenset((self.document, *self.also))


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a long answer. `sources` are the numbers of those that it was shown, from 1 on."""

    title: str
    text: str
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a System says to one input.

    `value` is the parsed answer and `valid` whether it has the form the task asks for: an
    invalid answer is a wrong answer. `error` is something else: no answer came back, and why.

    `sources` is None where nothing is looked up, and empty where nothing was found. `left_out`
    names what was found and not shown, or not whole, for want of room, such as "example e3".
    `sections` are there where the answer was written in several generations.
    """

    value: Json = None
    text: str = ""
    valid: bool = True
    usage: Usage = Usage()
    error: str | None = None
    sources: tuple[Source, ...] | None = None
    left_out: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


class System(Protocol):
    """A recipe built for a task. What is measured is what is served."""

    @property
    def recipe(self) -> Recipe: ...

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        """Answer one input of a user at a time; failures come back as `Answer.error`."""
        ...

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer several queries together, in their order."""
        ...


# ---------------------------------------------------------------- what was seen


@dataclass(frozen=True, slots=True)
class Score:
    """One example's score in [0, 1], and what the scorer saw on the way to it."""

    value: float
    parts: Mapping[str, Json] = field(default_factory=dict)


class Scorer(Protocol):
    """Compares one answer with its target."""

    @property
    def name(self) -> str: ...

    def score(self, answer: Answer, target: Json) -> Score:
        """Any answer has a score, a wrong or invalid one a low one.

        Raises:
            TrialError: a scoring function of the user's own failed.
        """
        ...

    def summarise(self, scores: Sequence[Score]) -> dict[str, Json]:
        """Figures beside the mean, over the scored examples of a trial (may be empty)."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One example of a Trial: an answer with a score, or an error without one.

    Units: milliseconds and US dollars. `latency_ms` is what a caller alone would have waited and
    is known only for rows answered alone (`batch_size` 1); `compute_ms` is the row's share of
    its batch's time and `cost_usd` its price.
    """

    example_id: str
    group: str
    answer: Answer
    score: Score | None
    compute_ms: float
    cost_usd: float
    batch_size: int
    latency_ms: float | None = None

    @property
    def error(self) -> str | None:
        return self.answer.error


@dataclass(frozen=True, slots=True)
class Trial:
    """One System measured on one split: a row per example, in the order of the split."""

    recipe: Recipe
    split: Split
    rows: tuple[Row, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The paired difference `a − b` of mean scores on one split (None: rows of files).

    `interval` has the verdict's confidence; `p_adjusted` is Holm-corrected over all comparisons
    of the verdict on that split.
    """

    a: str
    b: str
    split: Split | None
    difference: float
    interval: tuple[float, float]
    p_adjusted: float
    num_examples: int
    num_groups: int


Outcome = Literal["chosen", "cannot_tell", "nothing_works"]
Status = Literal["finished", "eliminated", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One recipe on one split: mean score, its interval, and the scorer's own figures."""

    score: float
    interval: tuple[float, float]
    num_examples: int
    num_errors: int
    details: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a lone caller waited: median and 95th percentile."""

    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class RecipeReport:
    """One line of the league table. Tokens are means per example; `key` is the recipe's, and `toml`
    the file that says the same recipe again (empty for a control without a model). `num_labels`
    are the training rows that it is built from.

    `seed_scores` are the dev scores of the same recipe trained with one seed after another, the
    first of which is the one in this table; empty unless several were asked for. `guards` says of
    trained weights what they forgot and what small changes of inputs do to them.
    """

    name: str
    model: str
    context: str
    weights: str
    decoding: str
    control: bool
    status: Status
    diagnostic: bool = False
    why: str | None = None
    dev: SplitReport | None = None
    test: SplitReport | None = None
    setup_seconds: float | None = None
    setup_usd: float | None = None
    usd_per_1k: float | None = None
    prompt_tokens: float | None = None
    cached_tokens: float | None = None
    completion_tokens: float | None = None
    latency_ms: Latency = Latency()
    usd_per_1k_interval: tuple[float, float] | None = None
    num_labels: int | None = None
    learning_curve: Json = None
    key: str = ""
    seed_scores: tuple[float, ...] = ()
    guards: Json = None
    toml: str = ""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """After `calls` answers, `a` (dearer to set up) has cost less than `b`; None: never."""

    a: str
    b: str
    calls: float | None
    interval: tuple[float, float | None] | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to use and why. `prefer` is the safer bet while the data cannot tell."""

    task: str
    task_hash: str
    seed: int
    outcome: Outcome
    chosen: str | None
    prefer: str | None
    baseline: str | None
    reason: str
    confidence: float
    tolerance: float
    scorer: str
    splits: Mapping[str, int]
    minimum_detectable_difference: float | None
    test_looks: int
    recipes: tuple[RecipeReport, ...]
    comparisons: tuple[Comparison, ...]
    break_even: tuple[BreakEven, ...]
    disagreements: tuple[Json, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    minutes: float
    hardware: str
    versions: Mapping[str, str]
    curves: tuple[Json, ...] = ()
    diagnostics: tuple[Json, ...] = ()
    evaluations: Json = None
    turning_points: tuple[Json, ...] = ()
    pareto: Mapping[str, Json] = field(default_factory=dict)
    prior: Json = None
    label_curves: tuple[Json, ...] = ()
    slices: tuple[Json, ...] = ()
    freshness: Json = None

    def to_json(self) -> dict[str, Json]:
        """The machine-readable result; docs/weigh.md describes every key."""
        plain: dict[str, Json] = json.loads(json.dumps(asdict(self), ensure_ascii=False))
        return plain


@dataclass(frozen=True, slots=True)
class Release:
    """A System under a name and a version that never changes, with the Verdict that earned it.

    `snapshot` is the artefact that holds task and recipe as they were, `artefacts` those of its
    weights; of the accepted answers it may show those up to the number `accepted`. It is stale
    once the task's hash, the `index` of what it looks up or an artefact is another one. `parity`
    says what was found when it was measured again through what serves it. `collection` holds the
    documents of a refreshed one; those of others are in the task's own.
    """

    name: str
    task: str
    task_hash: str
    recipe: str
    seed: int
    snapshot: str
    artefacts: tuple[str, ...] = ()
    index: tuple[str | None, ...] = ()
    accepted: int = 0
    fingerprint: str = ""
    parity: Json = None
    verdict: Json = None
    version: int = 0
    created_at: str = ""
    collection: str = ""

    @property
    def id(self) -> str:
        """Names this very version."""
        return f"{self.name}@{self.version}"

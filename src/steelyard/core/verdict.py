"""What was seen: scores, rows, comparisons, the verdict, a release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol

from steelyard.core.recipe import Recipe
from steelyard.core.system import Answer
from steelyard.core.values import Json, Split


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
    are the training rows that it is built from, and `trained_share` the share of its steps that a
    training took: less than 1 where it was stopped early or the recipe dropped on the way.

    `seed_scores` are the dev scores of the same recipe trained with one seed after another, the
    first of which is the one in this table; empty unless several were asked for. `guards` says of
    trained weights what they forgot and what small changes of inputs do to them, and `injections`
    of passages how often instructions that were planted there are obeyed.
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
    trained_share: float | None = None
    key: str = ""
    seed_scores: tuple[float, ...] = ()
    guards: Json = None
    injections: Json = None
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
class Serving:
    """What a release is served through, where it is not what it was weighed with.

    `engine` is "llama.cpp", or the name of a [models.NAME] table. `format` is that of the weights
    in the artefact `weights`; `base` is the artefact of the base they stand over, where one was
    written. `fingerprint` names what answered when it was published.
    """

    engine: str
    format: str = ""
    weights: str | None = None
    base: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """A System under a name and a version that never changes, with the Verdict that earned it.

    `snapshot` is the artefact that holds task and recipe as they were, `artefacts` those of its
    weights; of the accepted answers it may show those up to the number `accepted`. It is stale
    once the task's hash, the `index` of what it looks up or an artefact is another one. `parity`
    says what was found when it was measured again through what serves it, which is `serving` or
    else what it was weighed with. `collection` holds the documents of a refreshed one; those of
    others are in the task's own.
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
    serving: Serving | None = None

    @property
    def id(self) -> str:
        """Names this very version."""
        return f"{self.name}@{self.version}"

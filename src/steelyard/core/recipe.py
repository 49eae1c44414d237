"""One way to adapt: model × context × weights × decoding."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from steelyard.core.values import cut, digest


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
    misses alone (None: all, or four in five where the task may abstain, as the fifth then learns
    to); it matters where the context has passages. `replay_share` of what is read with
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
    evidence_share: float | None = None
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

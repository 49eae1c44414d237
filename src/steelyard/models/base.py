"""What a base model must be able to do, whoever runs it.

A `Backend` answers prompts. Everything above it (recipes, training, serving) speaks in
`Prompt`s, never in token ids: the one place that turns messages into tokens is `render.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Json, Usage


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = tuple[Message, ...]

# Told the number of a prompt and its text so far; says whether the rest is not wanted any more.
Listen = Callable[[int, str], bool]


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was written: its text, natural-log probability, and the likeliest instead.

    A token that a schema forced has the log-probability 0.
    """

    text: str
    log_prob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model wrote after a prompt, without its end token.

    `complete` is False when the token limit ended it. `error` says why there is no text at all.
    `tokens` are there where their chances were asked for.
    """

    text: str = ""
    complete: bool = True
    usage: Usage = Usage()
    error: str | None = None
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Natural-log probabilities of each label, its end token included, after one prompt."""

    log_probs: tuple[float, ...] = ()
    usage: Usage = Usage()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. Temperature 0 is greedy; `schema` constrains the text to that JSON.

    `top_p` samples from the fewest likeliest tokens that have that much probability together.
    Source: nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751

    `begins` names the characters that an answer may begin with: one that begins otherwise may be
    given up once enough of it is there to be looked at. `chances` asks for the log-probability of
    every token, and for those of so many that were the likeliest.

    `alike` are texts that answers may resemble: a backend may guess from them what comes next, and
    keeps what the model would have written, so that the answer is the same but for rounding.
    """

    max_tokens: int
    schema: Mapping[str, Json] | None = None
    temperature: float = 0.0
    seed: int = 0
    begins: str = ""
    chances: int | None = None
    top_p: float = 1.0
    alike: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """The likeliest label after a prompt, by its number, and its natural-log probability.

    Where that is not told (`LabelScorer`), the label is the one that the model wrote.
    """

    label: int = 0
    log_prob: float | None = None
    usage: Usage = Usage()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How likely a text is after another: the natural-log probability of each of its tokens.

    `greedy` says whether each was the likeliest one, so that the model would have written it.
    """

    log_probs: tuple[float, ...]
    greedy: bool


class Backend(Protocol):
    """A base model, perhaps with an adapter, that can be asked.

    `fingerprint` is a hash of the weights, the adapter and the tokenizer: two backends of one
    fingerprint give the same answers. A prompt that does not fit the context comes back as an
    error on its own row and never stops the others.
    """

    @property
    def source(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def context_tokens(self) -> int: ...

    def count_tokens(self, prompt: Prompt | str) -> int:
        """Tokens of the rendered prompt, or of a plain text."""
        ...

    def count_target_tokens(self, text: str) -> int:
        """Tokens of an answer, its end token included."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt | str],
        sampling: Sampling,
        listen: Listen | None = None,
    ) -> list[Generation]:
        """One generation per prompt, in order; a plain text is gone on with as it is.

        `listen` hears each text as it grows, and ends it when it says so.
        """
        ...

    def choose_labels(
        self,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        prior: Sequence[float] | None = None,
    ) -> list[LabelChoice]:
        """The label of the largest log-probability, less its `prior`, after every prompt.

        Of a `LabelScorer` the same as the best of `score_labels`, the first of equals; it need not
        score them all. Any other backend takes no prior.
        """
        ...

    def keep(self, prompts: Sequence[Prompt]) -> None:
        """Prepare for many prompts that begin as all of these do."""
        ...

    def adapted(self, folder: Path) -> Backend:
        """The same base with the adapter of `folder`; the base is shared, not copied."""
        ...


@runtime_checkable
class LabelScorer(Protocol):
    """A backend that can also tell how likely each label is."""

    def count_target_tokens(self, text: str) -> int:
        """Tokens of an answer, its end token included."""
        ...

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """The log-probability of every label after every prompt."""
        ...


class Writer(Protocol):
    """What can write after a prompt. Every `Backend` can."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        """One generation per prompt, in order; a failure comes back as its error."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A backend that can also tell how likely a given text is."""

    def read(self, pairs: Sequence[tuple[Prompt | str, str]]) -> list[Reading]:
        """How likely each second text is after its first, no end token included.

        A prompt is followed by an answer, a plain text by more of it. The beginning of a text that
        does not fit the context is left out.
        """
        ...

    def divergence(self, base: Reader, pairs: Sequence[tuple[Prompt | str, str]]) -> list[float]:
        """How far we are from `base` at each token of the second texts: the Kullback–Leibler
        divergence of what may follow there, in nats. `base` has the same tokens."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors of length 1.

    Vectors of one `fingerprint` can be compared; it is what a knowledge base keeps beside them.
    """

    @property
    def fingerprint(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shapes: N texts → [N, D]."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens of each text are read."""
        ...


@runtime_checkable
class TokenEmbedder(Protocol):
    """An embedder that can also tell the vectors of single tokens."""

    def token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """A vector of length 1 for each token. Shapes: N texts → N times [T, D]."""
        ...


TOO_LONG_REMEDY = 'shorten the input, or set too_long = "truncate" under [limits]'


def too_long(tokens: int, context_tokens: int) -> str:
    """The error of a prompt that does not fit, in the words of every backend."""
    return (
        f"the prompt has {tokens} tokens and the model's context holds {context_tokens}; "
        f"{TOO_LONG_REMEDY}"
    )


def told_whole(written: list[Generation], listen: Listen | None) -> list[Generation]:
    """The generations of a backend that has no text before it is whole, told to who listens."""
    for number, one in enumerate(written):
        if listen is not None and one.text:
            listen(number, one.text)
    return written

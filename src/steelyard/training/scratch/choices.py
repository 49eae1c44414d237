"""All numbers of a model that begins from nothing, from one: how many layers it has.

    layers ──→ width, heads, feed-forward          shape
    corpus ──→ vocabulary
    minutes × speed ──→ steps, batch               course

Every number is printed with where it comes from (`Course.choices`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from steelyard.core import Json

BLOCK_TOKENS = 512
HEAD_WIDTH = 64
SIZES = (2, 3, 4, 6, 8, 12, 16, 20, 24, 32)  # layers that are tried when none are given
SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 512, 65_536
TOKENS_PER_WEIGHT = 1.0
MOST_EPOCHS = 8
FEWEST_STEPS = 20
TOKENS_PER_ROOT = 1.5  # of a step, by the root of all tokens
LOOKS = 10  # at the held-out documents
MINUTES_A_LOOK = 10.0  # at most: a look is a checkpoint too
LOOKING_SHARE = 0.05  # of the time
FORWARD_SHARE = 1 / 3  # of a step's time is the way forward
FEWEST_LOOKED_AT = 8  # blocks
WARMUP_SHARE = 0.05
FLOOR = 0.0
BETTER = 0.0  # any fall of the held-out loss counts: nothing is stopped for it
MATRIX_RATE = 0.02
REST_RATE = 3e-3


@dataclass(frozen=True, slots=True)
class Choice:
    """One number, and where it comes from."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama-like decoder whose embeddings are its head too."""

    layers: int
    vocabulary: int

    @property
    def width(self) -> int:
        return HEAD_WIDTH * self.layers

    @property
    def heads(self) -> int:
        return self.layers

    @property
    def feed_forward(self) -> int:
        """8/3 of the width, in whole heads.

        >>> Shape(4, 4096).feed_forward
        704
        """
        return HEAD_WIDTH * math.ceil(8 * self.width / 3 / HEAD_WIDTH)

    @property
    def weights(self) -> int:
        """How many weights it has, norms included.

        >>> Shape(4, 4096).weights
        4262144
        """
        layer = 4 * self.width**2 + 3 * self.width * self.feed_forward + 2 * self.width
        return self.layers * layer + self.vocabulary * self.width + self.width


@dataclass(frozen=True, slots=True)
class Course:
    """A shape, and how it is trained.

    Units: `batch_rows` are blocks of up to `BLOCK_TOKENS`; `tokens_per_second` was measured before
    the first step; `epochs` is how often the corpus is read.
    """

    shape: Shape
    given: bool  # whether the user named the layers
    batch_rows: int
    num_steps: int
    every: int
    epochs: float
    tokens_per_second: float
    corpus_tokens: int

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Json) -> Course:
        return cls(**{**plain, "shape": Shape(**plain["shape"])})

    @property
    def choices(self) -> list[Choice]:
        """What was chosen, and why, in the order in which it follows."""
        shape, batch = self.shape, self.batch_rows * BLOCK_TOKENS
        ours = "ours, docs/log/2026-11-26-pretraining.md"
        sized = (
            "--size"
            if self.given
            else f"the largest that sees {TOKENS_PER_WEIGHT:g} tokens a weight; {ours}"
        )
        steps = (
            f"the corpus {MOST_EPOCHS} times; more would learn it by heart. {ours}"
            if self.epochs >= MOST_EPOCHS
            else f"--minutes, at {self.tokens_per_second:,.0f} tokens a second measured before"
        )
        return [
            Choice("layers", f"{shape.layers}", sized),
            Choice("width", f"{shape.width}", "64 × layers; nanochat"),
            Choice("heads", f"{shape.heads} of {HEAD_WIDTH}", "width / 64; Llama 3.2 1B"),
            Choice("feed-forward", f"{shape.feed_forward}", "8/3 × width; Shazeer 2020"),
            Choice("vocabulary", f"{shape.vocabulary:,}", f"2 √bytes of the corpus; {ours}"),
            Choice(
                "weights", f"{shape.weights:,}", "all of these, embeddings shared with the head"
            ),
            Choice("block", f"{BLOCK_TOKENS} tokens", ours),
            Choice("batch", f"{batch:,} tokens", f"{TOKENS_PER_ROOT:g} √tokens of the run; {ours}"),
            Choice("steps", f"{self.num_steps:,} ({self.epochs:.2f} epochs)", steps),
            Choice("matrices", f"Muon, {MATRIX_RATE:g}", "Jordan et al. 2024"),
            Choice("rest", f"AdamW, {REST_RATE:g}", ours),
            Choice("weight decay", "0", ours),
            Choice("warm-up", f"{WARMUP_SHARE:.0%} of the steps", ours),
            Choice("cool-down", "a cosine to 0", "Bergsma et al. 2025, arXiv:2502.15938"),
        ]


def vocabulary_of(num_bytes: int) -> int:
    """The power of two nearest to 2 √bytes.

    >>> vocabulary_of(5_000_000), vocabulary_of(1000), vocabulary_of(10**9)
    (4096, 512, 65536)
    """
    size = 1 << round(math.log2(2 * math.sqrt(max(1, num_bytes))))
    return max(SMALLEST_VOCABULARY, min(LARGEST_VOCABULARY, size))


def batch_rows_of(num_tokens: float) -> int:
    """Blocks a step: 1.5 √tokens of the whole run, in a power of two of blocks.

    >>> batch_rows_of(2e6), batch_rows_of(1e4), batch_rows_of(1e9)
    (4, 1, 128)
    """
    blocks = TOKENS_PER_ROOT * math.sqrt(max(1.0, num_tokens)) / BLOCK_TOKENS
    return 1 << max(0, round(math.log2(blocks)))


def affordable_tokens(tokens_per_second: float, seconds: float, corpus_tokens: int) -> float:
    """How many tokens can be learned from in that time, some more than once."""
    learning = seconds * (1 - LOOKING_SHARE) * tokens_per_second
    return min(max(0.0, learning), float(MOST_EPOCHS * corpus_tokens))


def num_looked_at(num_tokens: float, looks: int) -> int:
    """How many blocks of the held-out text a look may run, for all looks to keep to their share.

    >>> num_looked_at(1e6, looks=10)
    29
    """
    tokens = LOOKING_SHARE * num_tokens / FORWARD_SHARE / looks
    return max(FEWEST_LOOKED_AT, int(tokens / BLOCK_TOKENS))


def is_worth(shape: Shape, num_tokens: float) -> bool:
    """Whether a model of this shape sees enough tokens."""
    return num_tokens >= TOKENS_PER_WEIGHT * shape.weights


def course_of(
    shape: Shape,
    *,
    given: bool,
    seconds: float,
    tokens_per_second: float,
    corpus_tokens: int,
    num_blocks: int,
) -> Course:
    """How a shape is trained in `seconds`."""
    tokens = affordable_tokens(tokens_per_second, seconds, corpus_tokens)
    batch_rows = min(batch_rows_of(tokens), num_blocks)
    per_epoch = -(-num_blocks // batch_rows)
    num_steps = math.floor(tokens / corpus_tokens * per_epoch)
    looks = max(LOOKS, math.ceil(seconds / 60 / MINUTES_A_LOOK))
    return Course(
        shape,
        given,
        batch_rows,
        num_steps,
        max(1, -(-num_steps // looks)),
        num_steps / per_epoch,
        tokens_per_second,
        corpus_tokens,
    )

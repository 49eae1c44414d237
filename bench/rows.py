"""Rows of random ids for training.py, and the arithmetic that learning from them needs.

Learning an adapter needs, for each token, 2 operations per weight forwards and 2 backwards (frozen
weights need no gradient of their own), and as much for the output head where there is a target.
Nothing follows a row's last token, so that it is not fed:

    4 · N · (tokens − 1) + 4 · D · V · targets        N: weights of the decoder's linear layers

Attention, the adapters' own products and everything else count as nothing, for every contender.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from steelyard.training.batches import Encoded

FIRST_ID = 100  # those before are special tokens in most vocabularies


@dataclass(frozen=True)
class Lengths:
    """Tokens of a row: `shared` by all rows, then its own, then its target's; (least, most)."""

    own: tuple[int, int]
    target: tuple[int, int]
    shared: int = 0

    @property
    def mean(self) -> float:
        return self.shared + (sum(self.own) + sum(self.target)) / 2


@dataclass(frozen=True)
class Timed:
    """Some optimiser steps: their seconds, and the rows and tokens that were learned from."""

    seconds: float
    rows: int
    tokens: int

    def units(self, unit: str) -> int:
        return self.rows if unit == "rows" else self.tokens


LENGTHS = {
    "short": Lengths(own=(24, 42), target=(6, 10)),
    "shared": Lengths(own=(36, 46), target=(16, 22), shared=300),
    "long": Lengths(own=(208, 448), target=(48, 64)),
    "growth": Lengths(own=(20, 51), target=(4, 11)),
}


def spread(span: tuple[int, int], count: int) -> list[int]:
    """`count` lengths that lie evenly between the least and the most.

    >>> spread((3, 5), 6)
    [3, 3, 4, 4, 5, 5]
    """
    least, most = span
    return [least + (2 * i + 1) * (most - least + 1) // (2 * count) for i in range(count)]


def random_rows(lengths: Lengths, count: int, *, vocabulary: int, seed: int = 0) -> list[Encoded]:
    """Rows of random ids: what they say does not change how long they take."""
    chance = random.Random(seed)

    def ids(length: int) -> list[int]:
        return [chance.randrange(FIRST_ID, vocabulary) for _ in range(length)]

    shared = ids(lengths.shared)
    own, target = spread(lengths.own, count), spread(lengths.target, count)
    chance.shuffle(own)
    chance.shuffle(target)
    return [Encoded(shared + ids(a), ids(b)) for a, b in zip(own, target, strict=True)]


def linear_weights(config: Any) -> int:
    """N: the weights of the linear layers of a Llama-like decoder, embedding and head excluded."""
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or width // heads
    queries, keys = heads * head, config.num_key_value_heads * head
    layer = 2 * width * queries + 2 * width * keys + 3 * width * inner
    return int(config.num_hidden_layers * layer)


def flop_per_row(config: Any, lengths: Lengths) -> float:
    """Operations that learning from one row needs, on average."""
    fed, targets = lengths.mean - 1, sum(lengths.target) / 2
    head = int(config.hidden_size * config.vocab_size)
    return 4 * linear_weights(config) * fed + 4 * head * targets

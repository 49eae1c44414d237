"""Rows → packed batches.

    prompt [5, 6, 7]   target [8, 9]      fed      5  6  7  8
                                          learned        8  9

The state after each fed token predicts the next; only the target's tokens, its end token
included, are learned, and nothing follows the last of them. Rows of a batch stand one after the
other without padding, and what all their prompts begin with stands once before them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from steelyard.models.attention import Packing
from steelyard.models.decoder import MICRO_BATCH_TOKENS, Decoder
from steelyard.models.kv_cache import common
from steelyard.training import lanes

MOST_PADDED = 2  # times that, where attention sets rows as long as the longest. Source: ours
WORTH_SHARING = 64  # tokens saved, before a beginning is worth attention of its own. Source: ours


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one training row."""

    prompt: list[int]
    target: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


AnyEncoded = TypeVar("AnyEncoded", bound=Encoded)


def bytes_per_token(decoder: Decoder, length: int) -> int:
    """What a token of a row of `length` leaves for the way back: 0.9 MB for SmolLM2-135M.

    Source: ours, counted in `decoder.py` and measured (docs/performance.md).
    """
    config = decoder.config
    if decoder.checkpointing:
        per_layer = config.hidden_size
    else:
        heads = config.num_attention_heads * length
        per_layer = 10 * config.hidden_size + 6 * config.intermediate_size + heads
    return int(config.num_hidden_layers * per_layer * decoder.dtype.itemsize)


def tokens_at_once(decoder: Decoder, longest: int, memory_bytes: int) -> int:
    """How many tokens a micro-batch may have; a row is never cut."""
    return min(MICRO_BATCH_TOKENS, max(1, memory_bytes // bytes_per_token(decoder, longest)))


def fit_memory(decoder: Decoder, rows: Sequence[Sized], memory_gb: float) -> None:
    """Let the decoder hold as much at once as so much memory allows for the longest row, on two
    lanes where that is so much."""
    longest = max(map(len, rows))
    memory_bytes = int(memory_gb * 1e9)
    decoder.checkpointing = longest * bytes_per_token(decoder, longest) > memory_bytes
    both = lanes.LANES * longest * bytes_per_token(decoder, longest) <= memory_bytes
    decoder.lanes = lanes.LANES if both and lanes.allowed(decoder) else 1
    decoder.tokens_at_once = tokens_at_once(decoder, longest, memory_bytes // decoder.lanes)


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Optimiser steps that see every row once; the last one may be smaller."""
    return -(-num_rows // batch_size)


def rows_of_step(num_rows: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Which rows optimiser step `step` (from 0) learns from: a pure function, so that a resumed
    run sees what an uninterrupted one would have."""
    epoch, place = divmod(step, steps_per_epoch(num_rows, batch_size))
    order = list(range(num_rows))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return order[place * batch_size : (place + 1) * batch_size]


def shared_tokens(rows: Sequence[Encoded]) -> int:
    """How many tokens all prompts begin with, but for one of each; 0 where that is too little."""
    shared = min(common([row.prompt for row in rows]), min(len(row.prompt) for row in rows) - 1)
    return shared if shared * (len(rows) - 1) >= WORTH_SHARING else 0


def micro_batches(rows: Sequence[AnyEncoded], limit: int) -> Iterator[list[AnyEncoded]]:
    """Split the rows of a step into batches of near lengths, of about `limit` tokens at most.

    What all prompts begin with counts once in each. A long row is kept from many short ones,
    which attention would have to pad: 31 rows of 10 tokens and one of 800 kept nine times the
    memory of the two apart.
    """
    shared = shared_tokens(rows)
    batch: list[AnyEncoded] = []
    tokens = shared
    for row in sorted(rows, key=len):
        own = len(row) - shared
        padded = (len(batch) + 1) * own
        if batch and (tokens + own > limit or padded > MOST_PADDED * limit):
            yield batch
            batch, tokens = [], shared
        batch.append(row)
        tokens += own
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows after their shared beginning.

    Shapes: ids and positions [P + N]; `states` [M] are the places whose next tokens are learned,
    and `targets` [M] those tokens.
    """

    shared: int
    packing: Packing
    ids: Tensor
    positions: Tensor
    states: Tensor
    targets: Tensor


def pack(rows: Sequence[Encoded], device: torch.device) -> Batch:
    """Lay out the rows of a micro-batch."""
    shared = shared_tokens(rows)
    own = [(row.prompt + row.target)[shared:-1] for row in rows]
    packing = Packing(list(map(len, own)), device)
    ids = rows[0].prompt[:shared] + [token for tokens in own for token in tokens]
    states: list[int] = []
    end = shared
    for row, tokens in zip(rows, own, strict=True):
        end += len(tokens)
        states += range(end - len(row.target), end)
    beginning = torch.arange(shared, device=device)
    return Batch(
        shared,
        packing,
        torch.tensor(ids, device=device),
        torch.cat([beginning, shared + packing.place]),
        torch.tensor(states, device=device),
        torch.tensor([token for row in rows for token in row.target], device=device),
    )

"""Rows → token batches.

    prompt [5, 6, 7]   target [8, 9]      ids     5  6  7  8  9
                                          labels  -  -  -  8  9     (- = IGNORED)

Labels stand at their own position; the loss compares the state at position t with label t + 1,
so that only the target's tokens, its end token included, are learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
MICRO_BATCH_TOKENS = 2048  # padded tokens per forward; bounds activation memory. Source: ours


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one training row."""

    prompt: list[int]
    target: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


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


def micro_batches(rows: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    """Split the rows of a step into batches of near lengths within `MICRO_BATCH_TOKENS`."""
    batch: list[Encoded] = []
    for row in sorted(rows, key=len):
        if batch and (len(batch) + 1) * len(row) > MICRO_BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def collate(rows: Sequence[Encoded], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pad rows on the right.

    Shapes: ids, mask and labels, each [B, T].
    """
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.prompt + row.target)
        mask[i, : len(row)] = 1
        labels[i, len(row.prompt) : len(row)] = torch.tensor(row.target)
    return ids, mask, labels

"""How likely a model finds texts that are given, not written by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from steelyard.models.attention import Packing, WholeRows
from steelyard.models.decoder import MICRO_BATCH_TOKENS, Decoder
from steelyard.models.encoder import batches


def next_log_probs(
    decoder: Decoder, rows: Sequence[tuple[Sequence[int], int]]
) -> Iterator[tuple[int, Tensor]]:
    """For each row of token ids: its number, and what may follow each token from a place on.

    The shortest rows come first. Natural logarithms, in float32.

    Shapes: (T ids, place) → [T − place, V].
    """
    lengths = [len(ids) for ids, _ in rows]
    for batch in batches(lengths, MICRO_BATCH_TOKENS):
        packing = Packing([lengths[row] for row in batch], decoder.device)
        ids = torch.tensor([id for row in batch for id in rows[row][0]], device=decoder.device)
        whole = WholeRows(0, packing, decoder.head.weight)
        states = decoder(ids, packing.place, whole)
        for row, own in zip(batch, states.split(packing.lengths), strict=True):
            yield row, torch.log_softmax(decoder.logits(own[rows[row][1] :]), dim=-1)

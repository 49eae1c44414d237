"""Learning a teacher's distribution: the base itself, shown more than its student is.

    teacher   instruction, labels, eight examples, the input  →  p(next token), the K likeliest
    student   instruction, the input                          →  q(next token)

    loss = Σ p log(p / q) over the K likeliest tokens and, as one more, all others together

so that the student is not told that what is left out is impossible. What the teacher makes of the
rows is kept on disk, a file for a few rows each: a teacher that is killed goes on where it was.

Source: context distillation, Askell et al. 2021, arXiv:2112.00861, appendix; Snell et al. 2022,
arXiv:2209.15189.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from steelyard.models.attention import WholeRows, take
from steelyard.models.decoder import Decoder
from steelyard.models.fused import Product
from steelyard.training import batches
from steelyard.training.batches import Encoded
from steelyard.training.objective import mean_loss
from steelyard.training.target_loss import piecewise

LIKELIEST = (
    32  # tokens of a distribution that are kept. Source: ours, docs/log/2026-11-26-objectives.md
)
ROWS_A_FILE = 32  # so that a kill costs seconds. Source: ours
TINY = 1e-12  # of probability: its logarithm must be a number


@dataclass(frozen=True, slots=True)
class Taught(Encoded):
    """A row, and the teacher's likeliest tokens at each of its target's places.

    Shapes: ids and log_probs [T, K] for a target of T tokens.
    """

    ids: Tensor
    log_probs: Tensor


class Teacher:
    """The loss above, in nats per target token."""

    def count(self, row: Taught) -> int:
        return len(row.target)

    def micro_batches(self, rows: Sequence[Taught], limit: int) -> Iterable[list[Taught]]:
        return batches.micro_batches(rows, limit)

    def loss(self, decoder: Decoder, rows: Sequence[Taught]) -> Tensor:
        ids = torch.cat([row.ids for row in rows]).to(decoder.device)
        log_probs = torch.cat([row.log_probs for row in rows]).to(decoder.device)
        return soft_loss(_target_states(decoder, rows), decoder.output, ids, log_probs)

    def held_out(self, decoder: Decoder, rows: Sequence[Taught]) -> dict[str, float]:
        return {"held_out_loss": mean_loss(self, decoder, rows)}


def _target_states(decoder: Decoder, rows: Sequence[Encoded]) -> Tensor:
    """The states from which the target's tokens are predicted, row by row. Shapes: [M, width]."""
    batch = batches.pack(rows, decoder.device)
    attend = WholeRows(batch.shared, batch.packing, decoder.head.weight)
    return take(decoder(batch.ids, batch.positions, attend), batch.states)


# ---------------------------------------------------------------- the teacher


def taught(decoder: Decoder, rows: Sequence[tuple[Encoded, Encoded]], folder: Path) -> list[Taught]:
    """The students' rows with what the decoder as it is now makes of the teachers' ones.

    A row is (student's, teacher's), with the same target. Files of whole batches that are in
    `folder` already are taken as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for start in range(0, len(rows), ROWS_A_FILE):
        part = rows[start : start + ROWS_A_FILE]
        file = folder / f"{start:08d}.safetensors"
        tensors = _read(file) if file.exists() else None
        if tensors is None:
            tensors = _distributions(decoder, [teacher for _, teacher in part])
            partial = file.with_suffix(f".{os.getpid()}")
            save_file(tensors, partial)
            partial.rename(file)
        sizes = [len(student.target) for student, _ in part]
        split = zip(tensors["ids"].split(sizes), tensors["log_probs"].split(sizes), strict=True)
        found += [
            Taught(student.prompt, student.target, ids.long(), log_probs)
            for (student, _), (ids, log_probs) in zip(part, split, strict=True)
        ]
    return found


def _read(file: Path) -> dict[str, Tensor] | None:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError):
        return None  # cut off by a full disk: made again
    return tensors


def _distributions(decoder: Decoder, rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """The likeliest tokens at each place of the targets, in the order of the rows."""
    found: dict[int, list[Tensor]] = {}
    places = {id(row): number for number, row in enumerate(rows)}
    with torch.inference_mode():
        for micro in batches.micro_batches(rows, decoder.tokens_at_once):
            states = _target_states(decoder, micro)
            sizes = [len(row.target) for row in micro]
            for row, own in zip(micro, states.split(sizes), strict=True):
                log_probs = torch.log_softmax(decoder.logits(own), dim=-1)
                top = log_probs.topk(min(LIKELIEST, log_probs.shape[-1]), dim=-1)
                found[places[id(row)]] = [top.indices.int().cpu(), top.values.cpu()]
    ordered = [found[number] for number in range(len(rows))]
    ids, values = (torch.cat(parts).contiguous() for parts in zip(*ordered, strict=True))
    return {"ids": ids, "log_probs": values}


# ---------------------------------------------------------------- the loss


def soft_loss(states: Tensor, head: Product, ids: Tensor, log_probs: Tensor) -> Tensor:
    """The divergence of the student's distributions from the teacher's, summed, in nats, float32.

    Shapes: states [M, width], ids and log_probs [M, K].
    """
    return piecewise(states, head, _divergence, ids, log_probs)


def _divergence(logits: Tensor, ids: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Its gradient is q − p at the likeliest tokens, and q (1 − p_rest / q_rest) at all others."""
    log_q = torch.log_softmax(logits, dim=-1)
    p, own = log_probs.exp(), log_q.gather(1, ids)
    rest = log_q.exp().scatter_(1, ids, 0.0)
    q_rest = rest.sum(-1).clamp_min(TINY)
    p_rest = (1 - p.sum(-1)).clamp_min(0.0)
    loss = (p * (log_probs - own)).sum()
    loss += (torch.xlogy(p_rest, p_rest) - p_rest * q_rest.log()).sum()
    gradient = rest.mul_((1 - p_rest / q_rest)[:, None])
    return loss, gradient.scatter_(1, ids, own.exp() - p)

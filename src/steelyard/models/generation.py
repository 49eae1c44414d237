"""Writing answers: many rows at once, each leaving when it is done and replaced by the next.

A pass of the decoder feeds every row the tokens it has waiting: what is left of its prompt when
it begins, one token after that, more where a schema forces them. Forced tokens are appended
without asking the model (llguidance's fast-forward).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steelyard.models.base import Sampling
from steelyard.models.constrain import Constraint, allowed_tokens
from steelyard.models.decoder import Decoder
from steelyard.models.kv_cache import Rows
from steelyard.models.sharing import Prompts

REFILL = 0.25  # of the rows must be free before new ones begin: passes over few rows are dear


@dataclass(slots=True)
class Answering:
    """An answer on its way: the tokens to be read next, and those written so far."""

    index: int
    waiting: list[int]
    matcher: Any = None
    chance: torch.Generator | None = None
    written: list[int] = field(default_factory=list)
    complete: bool = False
    over: bool = False  # complete, at its limit, or given up


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are written: the end token, the schema if any, and when one is hopeless."""

    sampling: Sampling
    end: int
    constraint: Constraint | None
    hopeless: Callable[[list[int]], bool]


def write(
    decoder: Decoder,
    prompts: Prompts,
    queue: list[int],
    manner: Manner,
    *,
    at_once: int,
    done: Callable[[Answering], None],
) -> None:
    """Answer the prompts of `queue`, in its order and `at_once` together; `done` gets each."""
    queue = list(queue)
    size = min(at_once, len(queue))
    rows = Rows(decoder, size)
    active: list[Answering] = []
    while queue or active:
        start = 0
        if queue and (not active or size - len(active) >= REFILL * size):
            start = len(active)
            fresh, queue = queue[: size - start], queue[size - start :]
            for index, own in zip(fresh, prompts.begin(rows, fresh), strict=True):
                active.append(_begin(index, own, prompts.ids[index], manner))
        turn = active[start:]
        step = rows.step(start, [len(answer.waiting) for answer in turn], prompts.prefix)
        ids = torch.tensor([t for answer in turn for t in answer.waiting], device=decoder.device)
        hidden = decoder(ids, step.positions, step)[step.packing.last]
        _choose(decoder.output(hidden), turn, manner)
        for row in reversed(range(start, len(active))):
            if active[row].over:
                done(active[row])
                rows.drop(row)
                active[row] = active[-1]
                active.pop()


def _choose(logits: Tensor, turn: list[Answering], manner: Manner) -> None:
    """Append the next tokens to every answer. Shapes: logits [B, V], one row per answer."""
    sampling = manner.sampling
    if sampling.temperature == 0:
        likeliest = logits.float().argmax(dim=-1).tolist()
    else:
        likeliest = [-1] * len(turn)
    for row, answer in enumerate(turn):
        if answer.over:  # all of it was forced
            continue
        token, matcher = likeliest[row], answer.matcher
        if matcher is not None and (token < 0 or matcher.validate_tokens([token]) == 0):
            allowed = allowed_tokens(matcher, logits.shape[-1]).to(logits.device)
            logits[row].masked_fill_(~allowed, float("-inf"))
            token = int(logits[row].argmax()) if sampling.temperature == 0 else -1
        if token < 0:
            chances = torch.softmax(logits[row].float() / sampling.temperature, dim=-1).cpu()
            token = int(torch.multinomial(chances, 1, generator=answer.chance))
        _append(answer, token, manner)


def _begin(index: int, own: list[int], ids: list[int], manner: Manner) -> Answering:
    answer = Answering(index, own)
    if manner.sampling.temperature > 0:
        answer.chance = _chance(manner.sampling.seed, ids)
    if manner.constraint is not None:
        answer.matcher = manner.constraint.start()
        forced, limit = _forced(answer.matcher, manner), manner.sampling.max_tokens
        answer.written = forced[:limit]
        answer.waiting = own + answer.written
        answer.complete = answer.matcher.is_stopped() and len(forced) <= limit
        answer.over = answer.complete or len(forced) >= limit
    return answer


def _append(answer: Answering, token: int, manner: Manner) -> None:
    """Take a token, and those that must follow it."""
    matcher, limit = answer.matcher, manner.sampling.max_tokens
    new = [token]
    if token == manner.end:
        new, answer.complete = [], True
    elif matcher is not None:
        matcher.consume_token(token)
        new += _forced(matcher, manner)
        answer.complete = matcher.is_stopped()
    if len(answer.written) + len(new) > limit:
        new, answer.complete = new[: limit - len(answer.written)], False
    answer.written += new
    answer.waiting = new
    full = len(answer.written) >= limit
    answer.over = answer.complete or full or manner.hopeless(answer.written)


def _forced(matcher: Any, manner: Manner) -> list[int]:
    """The tokens that must follow, taken by the matcher, without the end token."""
    if matcher.is_stopped():
        return []
    forced: list[int] = matcher.compute_ff_tokens()
    if forced:
        matcher.consume_tokens(forced)
    return [token for token in forced if token != manner.end]


def _chance(seed: int, ids: list[int]) -> torch.Generator:
    """Randomness of a row's own, so that its sample does not depend on its neighbours."""
    own = hashlib.sha256(repr((seed, ids)).encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(own, "big") >> 1)

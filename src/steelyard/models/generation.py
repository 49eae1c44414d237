"""Writing answers: many rows at once, each leaving when it is done and replaced by the next.

A pass of the decoder feeds every row the tokens it has waiting: what is left of its prompt when
it begins, one token after that, more where a schema forces them. Forced tokens are appended
without asking the model (llguidance's fast-forward). Greedy answers also try a guess at what
follows (`drafting.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from steelyard.models.base import Sampling
from steelyard.models.constrain import Constraint, allowed_tokens
from steelyard.models.decoder import MICRO_BATCH_TOKENS, Decoder
from steelyard.models.drafting import NONE, Guesser, Phrases
from steelyard.models.kv_cache import Rows
from steelyard.models.sharing import Prompts

REFILL = 0.25  # of the rows must be free before new ones begin: passes over few rows are dear


# The log-probability of a token, and the likeliest instead with theirs.
Chance = tuple[float, list[tuple[int, float]]]
CERTAIN: Chance = (0.0, [])  # of a token that had to follow


@dataclass(slots=True)
class Answering:
    """An answer on its way: the tokens to be read next, and those written so far."""

    index: int
    waiting: list[int]
    matcher: Any = None
    chance: torch.Generator | None = None
    guesser: Guesser | None = None
    written: list[int] = field(default_factory=list)
    complete: bool = False
    over: bool = False  # complete, at its limit, or given up
    chances: list[Chance] = field(default_factory=list)  # of what is written, where asked for


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are written: the end token, the schema if any, when one is given up, and what
    they may resemble."""

    sampling: Sampling
    end: int
    constraint: Constraint | None
    given_up: Callable[[Answering], bool]
    phrases: Phrases = NONE


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
        for first, stop in _turns(active, start):
            _pass(decoder, prompts, rows, active[first:stop], first, manner)
        for row in reversed(range(start, len(active))):
            if active[row].over:
                done(active[row])
                rows.drop(row)
                active[row] = active[-1]
                active.pop()


def _turns(active: list[Answering], start: int) -> list[tuple[int, int]]:
    """The rows from `start` on, cut where a pass would read more than is any faster."""
    cuts, tokens = [start], 0
    for row in range(start, len(active)):
        waiting = len(active[row].waiting)
        if tokens and tokens + waiting > MICRO_BATCH_TOKENS:
            cuts.append(row)
            tokens = 0
        tokens += waiting
    return list(pairwise([*cuts, len(active)]))


def _pass(
    decoder: Decoder,
    prompts: Prompts,
    rows: Rows,
    turn: list[Answering],
    start: int,
    manner: Manner,
) -> None:
    """Feed what the rows from `start` on have waiting, with a guess at what follows, and go on
    with each."""
    guesses = [_guess(answer, len(turn), manner) for answer in turn]
    fed = [answer.waiting + guess for answer, guess in zip(turn, guesses, strict=True)]
    step = rows.step(start, list(map(len, fed)), prompts.prefix)
    ids = torch.tensor([token for tokens in fed for token in tokens], device=decoder.device)
    hidden = decoder(ids, step.positions, step)
    asked = [
        last - back
        for last, guess in zip(step.packing.last.tolist(), guesses, strict=True)
        for back in range(len(guess), -1, -1)
    ]
    logits = decoder.output(hidden[asked])
    likeliest = logits.float().argmax(dim=-1).tolist()
    first = 0
    for row, (answer, guess) in enumerate(zip(turn, guesses, strict=True), start=start):
        stop = first + len(guess) + 1
        right = _go_on(answer, guess, logits[first:stop], likeliest[first:stop], manner)
        rows.filled[row] -= len(guess) - right
        first = stop


def _guess(answer: Answering, num_rows: int, manner: Manner) -> list[int]:
    if answer.guesser is None or answer.over:
        return []
    # One token less than there is room for: the pass itself yields the last.
    room = manner.sampling.max_tokens - len(answer.written) - 1
    return answer.guesser.guess(room, num_rows)


def _go_on(
    answer: Answering, guess: list[int], logits: Tensor, likeliest: list[int], manner: Manner
) -> int:
    """Append tokens for as long as the guess foresaw them, and the one after; how many it did.

    Shapes: logits [1 + guessed, V]: after what was waiting, then after each token of the guess.
    """
    right = 0
    while not answer.over:
        token = _pick(answer, logits[right], likeliest[right], manner)
        new = _append(answer, token, manner)
        if new and manner.sampling.chances is not None:
            answer.chances += [_chance_of(logits[right], token, manner.sampling.chances)]
            answer.chances += [CERTAIN] * (len(new) - 1)
        foreseen = 0
        while guess[right : right + 1] and new[foreseen:] and guess[right] == new[foreseen]:
            right, foreseen = right + 1, foreseen + 1
        if foreseen < len(new):
            answer.waiting = new[foreseen:]
            break
    if answer.guesser is not None:
        answer.guesser.learn(len(guess), right)
    return right


def _pick(answer: Answering, logits: Tensor, likeliest: int, manner: Manner) -> int:
    """The next token. Shapes: logits [V]."""
    greedy, matcher = manner.sampling.temperature == 0, answer.matcher
    if greedy and (matcher is None or matcher.validate_tokens([likeliest])):
        return likeliest
    if matcher is not None:
        allowed = allowed_tokens(matcher, len(logits)).to(logits.device)
        logits = logits.masked_fill(~allowed, float("-inf"))
    if greedy:
        return int(logits.argmax())
    chances = torch.softmax(logits.float() / manner.sampling.temperature, dim=-1).cpu()
    if manner.sampling.top_p < 1:
        chances = nucleus(chances, manner.sampling.top_p)
    return int(torch.multinomial(chances, 1, generator=answer.chance))


def _chance_of(logits: Tensor, token: int, count: int) -> Chance:
    """How likely a token was, and the `count` likeliest. Shapes: logits [V]."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    best = torch.topk(log_probs, count)
    top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return float(log_probs[token]), list(top)


def nucleus(chances: Tensor, share: float) -> Tensor:
    """The fewest likeliest tokens that have `share` together; the others get nothing.

    >>> nucleus(torch.tensor([0.2, 0.5, 0.3]), 0.6).tolist()
    [0.0, 0.5, 0.30000001192092896]

    Shapes: [V] → [V]. Source: Holtzman et al. 2020, arXiv:1904.09751
    """
    values, order = chances.sort(descending=True)
    kept = values.cumsum(0) - values < share
    kept[0] = True
    return torch.zeros_like(chances).index_put((order[kept],), values[kept])


def _begin(index: int, own: list[int], ids: list[int], manner: Manner) -> Answering:
    answer = Answering(index, own)
    if manner.sampling.temperature > 0:
        answer.chance = _chance(manner.sampling.seed, ids)
    else:
        answer.guesser = Guesser(ids, manner.phrases)
    if manner.constraint is not None:
        answer.matcher = manner.constraint.start()
        forced, limit = _forced(answer.matcher, manner), manner.sampling.max_tokens
        answer.written = forced[:limit]
        answer.chances = [CERTAIN] * len(answer.written)
        answer.waiting = own + answer.written
        if answer.guesser is not None:
            answer.guesser.extend(answer.written)
        answer.complete = answer.matcher.is_stopped() and len(forced) <= limit
        answer.over = answer.complete or len(forced) >= limit
    return answer


def _append(answer: Answering, token: int, manner: Manner) -> list[int]:
    """Take a token, and those that must follow it, and return them."""
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
    if answer.guesser is not None:
        answer.guesser.extend(new)
    full = len(answer.written) >= limit
    answer.over = answer.complete or full or manner.given_up(answer)
    return new


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

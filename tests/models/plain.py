"""The plainest way to do what the torch backend does: one prompt, the whole sequence anew."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch

from steelyard.models import Prompt
from steelyard.models.constrain import Constraint
from steelyard.models.torch_backend import TorchBackend

Written = tuple[str, bool, int]  # the text, whether it ended, and its tokens with the end token


def spelt(backend: Any, **changes: Any) -> TorchBackend:
    """The same model with nothing kept, whose texts are token ids: equal text is equal tokens."""
    renderer = copy(backend.renderer)
    renderer.decode = str
    loaded = replace(backend.loaded, renderer=renderer, **changes)
    return TorchBackend(backend.source, loaded, memory_bytes=backend.memory_bytes)


def answers(found: list[Any]) -> list[Written]:
    """What was found, in the form of this module."""
    return [(g.text, g.complete, g.usage.completion_tokens) for g in found]


def by_the_library(backend: Any, library: Any, prompt: Prompt, max_tokens: int) -> Written:
    """`generate` of transformers."""
    ids, end = backend.renderer.prompt_ids(prompt), backend.renderer.end_token_id
    row = torch.tensor([ids])
    written = library.generate(
        row,
        attention_mask=torch.ones_like(row),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )[0, len(ids) :].tolist()
    text = written[:-1] if written[-1] == end else written
    return backend.renderer.decode(text), written[-1] == end, len(written)


def by_a_loop(
    backend: Any, library: Any, prompt: Prompt, schema: dict[str, Any], max_tokens: int
) -> tuple[str, bool]:
    """Constrained text and whether it ended.

    Tokens that llguidance says are forced are appended; else the likeliest that it allows.
    """
    ids, end = backend.renderer.prompt_ids(prompt), backend.renderer.end_token_id
    vocabulary = library.config.vocab_size
    constraint = Constraint(
        backend.renderer.tokenizer, schema, end_token_id=end, vocabulary=vocabulary
    )
    matcher = constraint.start()
    written: list[int] = []
    while not matcher.is_stopped() and len(written) < max_tokens:
        new = matcher.compute_ff_tokens()
        if not new:
            with torch.inference_mode():
                logits = library(torch.tensor([ids + written])).logits[0, -1]
            allowed = torch.tensor(list(matcher.compute_logit_bias())) > 0
            new = [int(logits.masked_fill(~allowed, float("-inf")).argmax())]
        matcher.consume_tokens(new)
        written += [token for token in new if token != end]
    ended = matcher.is_stopped() and len(written) <= max_tokens
    return backend.renderer.decode(written[:max_tokens]), ended


def log_prob(backend: Any, library: Any, prompt: Prompt, label: str) -> float:
    """The sum of the log-probabilities of a label's tokens, in one pass of its own."""
    start, target = backend.renderer.prompt_ids(prompt), backend.renderer.target_ids(label)
    with torch.inference_mode():
        logits = library(torch.tensor([start + target])).logits[0]
    log_probs = torch.log_softmax(logits.double(), dim=-1)
    return sum(float(log_probs[len(start) - 1 + i, token]) for i, token in enumerate(target))


def hidden(library: Any, ids: list[int]) -> torch.Tensor:
    """The last hidden states of transformers. Shapes: [T, width]."""
    states: torch.Tensor = library.model(torch.tensor([ids])).last_hidden_state[0]
    return states


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The length of the difference, relative to the expected."""
    return float((found - expected).norm() / expected.norm())

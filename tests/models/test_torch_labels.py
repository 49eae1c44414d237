"""Label scores of the torch backend against direct sums of log-probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.models import Prompt
from tiny import WORDS, ask, some_texts

LABELS = ["card", "card_arrival", "card_linking", "cash", "", "top up", "top"]


def direct(backend: Any, library: Any, prompt: Prompt, label: str) -> float:
    """The sum of the log-probabilities of a label's tokens, in one pass of its own."""
    start, target = backend.renderer.prompt_ids(prompt), backend.renderer.target_ids(label)
    with torch.inference_mode():
        logits = library(torch.tensor([start + target])).logits[0]
    log_probs = torch.log_softmax(logits.double(), dim=-1)
    return sum(float(log_probs[len(start) - 1 + i, token]) for i, token in enumerate(target))


words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
labels = st.lists(st.sampled_from(WORDS), min_size=0, max_size=4).map("_".join)


@settings(max_examples=15)
@given(
    texts=st.lists(words, min_size=1, max_size=5),
    system=st.none() | words,
    labels=st.lists(labels, min_size=1, max_size=6, unique=True).filter(any),
)
def test_label_scores_are_the_sums_of_their_tokens_log_probabilities(
    tiny: Any, library: Any, texts: list[str], system: str | None, labels: list[str]
) -> None:
    prompts = [ask(text, system) for text in texts]
    found = [answer.log_probs for answer in tiny.score_labels(prompts, labels)]
    expected = [[direct(tiny, library, prompt, label) for label in labels] for prompt in prompts]
    assert torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-4, rtol=0)


def test_the_order_of_labels_does_not_matter(tiny: Any) -> None:
    prompts = [ask(text) for text in some_texts(3, seed=1)]
    forwards = [answer.log_probs for answer in tiny.score_labels(prompts, LABELS)]
    backwards = [answer.log_probs[::-1] for answer in tiny.score_labels(prompts, LABELS[::-1])]
    assert torch.allclose(torch.tensor(forwards), torch.tensor(backwards), atol=1e-4, rtol=0)


def test_what_labels_share_is_counted_once(tiny: Any) -> None:
    [found] = tiny.score_labels([ask("fee")], ["card", "card card", "card card card"])
    longest = tiny.count_target_tokens("card card card")
    assert found.usage.completion_tokens == longest - 1  # nothing follows the end token


def test_many_labels_need_no_more_context_than_the_longest_of_them(tiny: Any, library: Any) -> None:
    many = [f"{a} {b} {c}" for a in WORDS for b in WORDS[:4] for c in WORDS[:4]]
    longest = max(map(tiny.count_target_tokens, many))
    room = tiny.context_tokens - longest
    prompt = next(
        fits for n in range(250, 0, -1) if tiny.count_tokens(fits := ask("?" * n)) <= room
    )
    assert tiny.count_tokens(prompt) == room
    [found] = tiny.score_labels([prompt], many)
    assert found.error is None
    assert found.usage.completion_tokens > longest
    assert found.log_probs[-1] == pytest.approx(direct(tiny, library, prompt, many[-1]), abs=1e-4)

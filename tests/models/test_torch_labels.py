"""Label scores and choices of the torch backend against sums of log-probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import log_prob, spelt

from steelyard.models import torch_backend
from tiny import WORDS, ask, some_texts

LABELS = ["card", "card_arrival", "card_linking", "cash", "", "top up", "top"]


words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
labels = st.lists(st.sampled_from(WORDS), min_size=0, max_size=4).map("_".join)


@settings(max_examples=15)
@given(
    texts=st.lists(words, min_size=1, max_size=5),
    system=st.none() | words,
    labels=st.lists(labels, min_size=1, max_size=6).filter(any),
)
def test_label_scores_are_the_sums_of_their_tokens_log_probabilities(
    tiny: Any, library: Any, texts: list[str], system: str | None, labels: list[str]
) -> None:
    prompts = [ask(text, system) for text in texts]
    found = [answer.log_probs for answer in tiny.score_labels(prompts, labels)]
    expected = [[log_prob(tiny, library, prompt, label) for label in labels] for prompt in prompts]
    assert torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-4, rtol=0)


@settings(max_examples=40)
@given(
    texts=st.lists(words, min_size=1, max_size=5),
    system=st.none() | words,
    labels=st.lists(labels, min_size=1, max_size=12).filter(any),
    values=st.none() | st.lists(st.floats(-30, 3), min_size=12, max_size=12),
    at_once=st.sampled_from([1, 2, 64]),
    kept=st.booleans(),
)
def test_the_label_chosen_is_the_best_of_all_scores_less_the_prior(
    tiny: Any,
    texts: list[str],
    system: str | None,
    labels: list[str],
    values: list[float] | None,
    at_once: int,
    kept: bool,
) -> None:
    prompts, backend = [ask(text, system) for text in texts], spelt(tiny)
    scored = tiny.score_labels(prompts, labels)
    prior = None if values is None else values[: len(labels)]
    if kept:
        backend.keep(prompts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_backend, "ROWS_AT_ONCE", at_once)
        chosen = backend.choose_labels(prompts, labels, prior)
    for scores, choice in zip(scored, chosen, strict=True):
        assert choice.error is None
        assert choice.log_prob == pytest.approx(scores.log_probs[choice.label], abs=1e-4)
        less = prior or [0.0] * len(labels)
        ranked = [a - b for a, b in zip(scores.log_probs, less, strict=True)]
        assert ranked[choice.label] >= max(ranked) - 1e-4
        assert choice.usage.prompt_tokens == scores.usage.prompt_tokens
        assert choice.usage.completion_tokens <= scores.usage.completion_tokens


@settings(max_examples=20)
@given(labels=st.lists(labels, min_size=1, max_size=8, unique=True).filter(any))
def test_every_beginning_that_labels_share_is_run_once(tiny: Any, labels: list[str]) -> None:
    [found] = tiny.score_labels([ask("fee")], labels)
    targets = [tiny.renderer.target_ids(label) for label in labels]
    beginnings = {tuple(ids[:n]) for ids in targets for n in range(1, len(ids))}
    assert found.usage.completion_tokens == len(beginnings)  # nothing follows the end token


def test_a_choice_runs_few_of_many_labels(tiny: Any, library: Any) -> None:
    many = [f"{a} {b} {c}" for a in WORDS for b in WORDS[:4] for c in WORDS[:4]]
    prompts = [ask(text) for text in some_texts(8, seed=3)]
    scored = tiny.score_labels(prompts, many)
    chosen = tiny.choose_labels(prompts, many)
    best = [max(range(len(many)), key=s.log_probs.__getitem__) for s in scored]
    assert [choice.label for choice in chosen] == best
    assert len(set(best)) > 1
    assert chosen[0].log_prob == pytest.approx(
        log_prob(tiny, library, prompts[0], many[best[0]]), abs=1e-4
    )
    run = sum(choice.usage.completion_tokens for choice in chosen)
    assert run < 0.6 * sum(scores.usage.completion_tokens for scores in scored)


def test_a_prior_decides_between_labels_and_stays_out_of_their_score(tiny: Any) -> None:
    prompt = ask("card lost")
    [scores] = tiny.score_labels([prompt], LABELS)
    for label in range(len(LABELS)):
        prior = [0.0 if n == label else 1e6 for n in range(len(LABELS))]
        [choice] = tiny.choose_labels([prompt], LABELS, prior)
        assert choice.label == label
        assert choice.log_prob == pytest.approx(scores.log_probs[label], abs=1e-4)


def test_one_label_is_chosen_and_scored_all_the_same(tiny: Any, library: Any) -> None:
    [choice] = tiny.choose_labels([ask("fee")], ["card_linking"])
    expected = log_prob(tiny, library, ask("fee"), "card_linking")
    assert choice.log_prob == pytest.approx(expected, abs=1e-4)
    [empty] = tiny.choose_labels([ask("fee")], [""])
    assert empty.log_prob == pytest.approx(log_prob(tiny, library, ask("fee"), ""), abs=1e-4)
    assert empty.usage.completion_tokens == 0


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
    assert found.log_probs[-1] == pytest.approx(log_prob(tiny, library, prompt, many[-1]), abs=1e-4)

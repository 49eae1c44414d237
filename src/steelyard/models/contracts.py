"""What every backend must keep to, ours or a user's, as a check to run in a test."""

from __future__ import annotations

import json
import math

from jsonschema import Draft202012Validator

from steelyard.models.base import (
    Backend,
    Generation,
    LabelScorer,
    Message,
    Prompt,
    Sampling,
    too_long,
)

MAX_TOKENS = 24
LABELS = ("card", "card lost", "top up", "fee")
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["card", "cash"]}, "sure": {"type": ["boolean", "null"]}},
    "required": ["kind", "sure"],
    "additionalProperties": False,
}
ROOM_FOR_JSON = 64  # tokens; no spelling of a value of SCHEMA takes more
TEXTS = ("the card is lost and the fee is not", "top up", "why", "cash or card for the top up")


def check_backend(backend: Backend) -> None:
    """Ask the backend a few small questions and check what the rest of Steelyard relies on.

    - Answers come back one per prompt, in order; no prompts, no answers.
    - The greedy answer is the same every time; a sample is the same for the same seed, whatever
      else is asked beside it.
    - Usage counts the prompt as `count_tokens` does, and no more than was allowed.
    - A prompt that does not fit fails alone, in the words of `too_long`, counting the room that
      its answer may need.
    - One of the labels is chosen, the same one every time. Of a `LabelScorer`, there is one
      log-probability per label, and none is above 0; the label that is chosen is the one of the
      largest, with a prior and without.
    - Constrained text fits its schema.
    - A listener hears each text as it grows, which changes nothing, and may end it.
    - Tokens of a `LabelScorer` whose chances are asked for are those that were written, the
      likeliest first.

    Rounding decides between near ties, so a model in bfloat16 may fail the check of samples.

    >>> from steelyard.models.fake import FakeBackend
    >>> check_backend(FakeBackend())

    Raises:
        AssertionError: with what was asked and what came back.
    """
    assert backend.context_tokens > 0
    assert backend.fingerprint
    assert backend.generate([], Sampling(MAX_TOKENS)) == [], "answers without prompts"
    assert backend.choose_labels([], LABELS) == [], "labels without prompts"
    prompts = [_prompt(text) for text in TEXTS]
    _check_greedy(backend, prompts)
    _check_samples(backend, prompts)
    _check_constrained(backend, prompts)
    _check_choices(backend, prompts)
    _check_too_long(backend, prompts)
    _check_listening(backend, prompts)
    if isinstance(backend, LabelScorer):
        _check_scores(backend, prompts)
        _check_chances(backend, prompts)


def _prompt(text: str) -> Prompt:
    return (Message("system", "Name the intent."), Message("user", text))


def _texts(generations: list[Generation]) -> list[str]:
    return [generation.text for generation in generations]


def _check_greedy(backend: Backend, prompts: list[Prompt]) -> None:
    sampling = Sampling(MAX_TOKENS)
    answers = backend.generate(prompts, sampling)
    assert len(answers) == len(prompts), f"{len(answers)} answers to {len(prompts)} prompts"
    for prompt, answer in zip(prompts, answers, strict=True):
        used, counted = answer.usage, backend.count_tokens(prompt)
        assert answer.error is None, f"{prompt}: {answer.error}"
        assert used.prompt_tokens == counted, f"{prompt}: {used} for a prompt of {counted} tokens"
        assert 0 <= used.cached_tokens <= counted, f"{prompt}: {used}"
        assert 0 < used.completion_tokens <= MAX_TOKENS + 1, f"{prompt}: {used}"
    again = backend.generate(prompts, sampling)
    assert _texts(again) == _texts(answers), f"greedy answers differ: {again} after {answers}"
    backwards = _texts(backend.generate(prompts[::-1], sampling))
    assert backwards[::-1] == _texts(answers), f"answers do not follow the prompts: {backwards}"


def _check_samples(backend: Backend, prompts: list[Prompt]) -> None:
    sampling = Sampling(MAX_TOKENS, temperature=1.0, seed=3)
    together = _texts(backend.generate(prompts, sampling))
    again = _texts(backend.generate(prompts, sampling))
    assert together == again, f"two samples of one seed differ: {together}, {again}"
    alone = [text for prompt in prompts for text in _texts(backend.generate([prompt], sampling))]
    assert together == alone, f"a sample depends on its neighbours: {together}, alone {alone}"


def _check_constrained(backend: Backend, prompts: list[Prompt]) -> None:
    for temperature in (0.0, 1.0):
        sampling = Sampling(ROOM_FOR_JSON, SCHEMA, temperature)
        for answer in backend.generate(prompts, sampling):
            assert answer.complete, f"constrained, and not done: {answer}"
            assert _fits(answer.text), f"constrained, and does not fit the schema: {answer}"


def _fits(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return bool(Draft202012Validator(SCHEMA).is_valid(value))


def _check_listening(backend: Backend, prompts: list[Prompt]) -> None:
    sampling = Sampling(MAX_TOKENS)
    plain = backend.generate(prompts, sampling)
    heard: list[list[str]] = [[""] for _ in prompts]

    def listen(number: int, text: str) -> bool:
        before = heard[number][-1]
        assert text.startswith(before), f"heard {text!r} after {before!r}"
        heard[number].append(text)
        return False

    found = backend.generate(prompts, sampling, listen)
    assert found == plain, f"listening changed {plain} to {found}"
    for texts, answer in zip(heard, found, strict=True):
        assert len(texts) > 1 or not answer.text, f"nothing was heard of {answer}"
        assert answer.text.startswith(texts[-1]), f"heard {texts[-1]!r} of {answer}"
    cut = backend.generate(prompts, sampling, lambda number, _: number == 0)
    assert cut[0].usage.completion_tokens <= plain[0].usage.completion_tokens, f"{cut[0]}"
    assert plain[0].text.startswith(cut[0].text), f"{plain[0]}, ended, became {cut[0]}"
    assert _texts(cut[1:]) == _texts(plain[1:]), "an answer that is ended spoils the others"


def _check_chances(backend: Backend, prompts: list[Prompt]) -> None:
    plain = _texts(backend.generate(prompts, Sampling(MAX_TOKENS)))
    found = backend.generate(prompts, Sampling(MAX_TOKENS, chances=2))
    assert _texts(found) == plain, f"asking for chances changed {plain} to {_texts(found)}"
    for answer in found:
        written = answer.usage.completion_tokens - answer.complete
        assert len(answer.tokens) == written, f"chances of {len(answer.tokens)} tokens: {answer}"
        for token in answer.tokens:
            assert token.log_prob <= 1e-6, f"a log-probability above 0: {token}"
            assert token.top[0] == (token.text, token.log_prob), f"greedy, and not first: {token}"
            assert len(token.top) == 2, f"asked for 2: {token}"
            assert token.top[0][1] >= token.top[1][1], f"not the likeliest first: {token}"


def _check_choices(backend: Backend, prompts: list[Prompt]) -> None:
    chosen = backend.choose_labels(prompts, LABELS)
    backwards = backend.choose_labels(prompts[::-1], LABELS)[::-1]
    assert len(chosen) == len(prompts), f"{len(chosen)} labels after {len(prompts)} prompts"
    for prompt, choice, other in zip(prompts, chosen, backwards, strict=True):
        assert choice.error is None, f"{prompt}: {choice.error}"
        assert 0 <= choice.label < len(LABELS), f"{prompt}: {choice}"
        assert choice.label == other.label, f"labels do not follow the prompts: {choice}, {other}"
        assert choice.usage.prompt_tokens == backend.count_tokens(prompt), f"{prompt}: {choice}"


def _check_scores(backend: Backend, prompts: list[Prompt]) -> None:
    assert isinstance(backend, LabelScorer)
    assert backend.score_labels([], LABELS) == [], "scores without prompts"
    answers = backend.score_labels(prompts, LABELS)
    backwards = backend.score_labels(prompts[::-1], LABELS)[::-1]
    for prompt, answer, other in zip(prompts, answers, backwards, strict=True):
        assert answer.error is None, f"{prompt}: {answer.error}"
        assert answer.usage.prompt_tokens == backend.count_tokens(prompt), f"{prompt}: {answer}"
        assert len(answer.log_probs) == len(LABELS), f"{prompt}: {answer}"
        for a, b in zip(answer.log_probs, other.log_probs, strict=True):
            assert math.isfinite(a), f"{prompt}: {answer}"
            assert a <= 1e-6, f"{prompt}: a log-probability above 0: {answer}"
            assert math.isclose(a, b, abs_tol=1e-3), f"scores do not follow the prompts: {a}, {b}"
    for prior in (None, [-1.0, 0.0, -2.5, -9.0]):
        chosen = backend.choose_labels(prompts, LABELS, prior)
        for prompt, scores, choice in zip(prompts, answers, chosen, strict=True):
            less = prior or [0.0] * len(LABELS)
            values = [a - b for a, b in zip(scores.log_probs, less, strict=True)]
            assert values[choice.label] >= max(values) - 1e-3, f"{prompt}: {choice}, not {values}"
            own = scores.log_probs[choice.label]
            same = choice.log_prob is not None and math.isclose(choice.log_prob, own, abs_tol=1e-3)
            assert same, f"{prompt}: {choice} of {scores}"
    _check_long_scores(backend, prompts)


def _check_too_long(backend: Backend, prompts: list[Prompt]) -> None:
    first, *others = prompts
    long = _prompt("why " * backend.context_tokens)
    counted = backend.count_tokens(long)

    sampling = Sampling(MAX_TOKENS)
    before, failed, *after = backend.generate([first, long, *others], sampling)
    expected = too_long(counted + MAX_TOKENS, backend.context_tokens)
    assert (failed.text, failed.error) == ("", expected), f"too long, and came back as {failed}"
    others_alone = _texts(backend.generate(prompts, sampling))
    assert _texts([before, *after]) == others_alone, "a prompt that is too long spoils the others"

    chosen, lost, *rest = backend.choose_labels([first, long, *others], LABELS)
    assert lost.error is not None, f"too long, and came back as {lost}"
    said = f"context holds {backend.context_tokens};"
    assert said in lost.error, f"too long, and said in other words: {lost}"
    errors = [choice.error for choice in (chosen, *rest)]
    assert not any(errors), f"a prompt that is too long fails the others: {errors}"


def _check_long_scores(backend: Backend, prompts: list[Prompt]) -> None:
    assert isinstance(backend, LabelScorer)
    first, *others = prompts
    long = _prompt("why " * backend.context_tokens)
    counted = backend.count_tokens(long)
    longest = max(backend.count_target_tokens(label) for label in LABELS)
    scores, lost, *rest = backend.score_labels([first, long, *others], LABELS)
    expected = too_long(counted + longest, backend.context_tokens)
    assert (lost.log_probs, lost.error) == ((), expected), f"too long, and came back as {lost}"
    errors = [answer.error for answer in (scores, *rest)]
    assert not any(errors), f"a prompt that is too long fails the others: {errors}"

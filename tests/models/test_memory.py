"""What a call does when memory runs out: fewer rows at once, and the same answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain import answers, spelt

from steelyard.models import Sampling
from steelyard.models.torch_backend import TorchBackend
from tiny import WORDS, ask, some_texts

EXHAUSTED: dict[str, Callable[[], Exception]] = {
    "the processor's": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    "the device's": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "Python's": lambda: MemoryError(),
}
PROMPTS = [ask(text, "Name the intent.") for text in some_texts(21, seed=9)]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "y"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
LABELS = [f"{a} {b}" for a in WORDS[:4] for b in WORDS]


class Tight:
    """A decoder that can hold so many rows, and fails with more, from some pass on."""

    def __init__(self, decoder: Any, rows: int, error: Callable[[], Exception], after: int) -> None:
        self.decoder, self.most = decoder, rows
        self.error, self.after = error, after
        self.held: list[int] = []
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoder, name)

    def __call__(self, ids: Any, positions: Any, step: Any) -> Any:
        if step.packing.rows > self.most and len(self.held) >= self.after:
            self.failures += 1
            raise self.error()
        self.held.append(step.packing.rows)
        return self.decoder(ids, positions, step)


def tight(
    backend: Any, rows: int, error: Callable[[], Exception], after: int = 0
) -> tuple[TorchBackend, Tight]:
    decoder = Tight(backend.loaded.decoder, rows, error, after)
    return spelt(backend, decoder=decoder), decoder


@pytest.mark.parametrize("error", EXHAUSTED.values(), ids=EXHAUSTED)
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_answers_are_the_same_with_fewer_rows(
    tiny: Any, error: Callable[[], Exception], rows: int
) -> None:
    expected = answers(spelt(tiny).generate(PROMPTS, Sampling(12)))
    backend, decoder = tight(tiny, rows, error)
    assert answers(backend.generate(PROMPTS, Sampling(12))) == expected
    assert decoder.failures > 0
    assert max(decoder.held) in (rows, rows - 1)


def test_what_was_answered_before_is_not_asked_again(tiny: Any) -> None:
    expected = answers(spelt(tiny).generate(PROMPTS, Sampling(30)))
    done = 12  # passes until memory runs out
    backend, decoder = tight(tiny, 2, EXHAUSTED["Python's"], after=done)
    assert answers(backend.generate(PROMPTS, Sampling(30))) == expected
    lengths = [tokens for _, _, tokens in expected]
    whole = sum(tokens for tokens in lengths if tokens >= done)
    assert sum(decoder.held[done:]) <= whole
    assert whole < sum(lengths)  # some were answered before


@pytest.mark.parametrize(
    "sampling", [Sampling(12, temperature=1.0, seed=3), Sampling(20, schema=SCHEMA)]
)
def test_samples_and_constrained_answers_begin_anew(tiny: Any, sampling: Sampling) -> None:
    expected = answers(spelt(tiny).generate(PROMPTS, sampling))
    backend, decoder = tight(tiny, 3, EXHAUSTED["the processor's"], after=1)
    assert answers(backend.generate(PROMPTS, sampling)) == expected
    assert decoder.failures > 0


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_labels_are_the_same_with_fewer_rows(tiny: Any, rows: int) -> None:
    backend, decoder = tight(tiny, rows, EXHAUSTED["the processor's"])
    scores = [found.log_probs for found in tiny.score_labels(PROMPTS, LABELS)]
    found = [found.log_probs for found in backend.score_labels(PROMPTS, LABELS)]
    assert decoder.failures > 0
    assert torch.allclose(torch.tensor(found), torch.tensor(scores), atol=1e-4, rtol=0)
    chosen = [choice.label for choice in backend.choose_labels(PROMPTS, LABELS)]
    assert chosen == [max(range(len(LABELS)), key=row.__getitem__) for row in scores]


@pytest.mark.parametrize("error", EXHAUSTED.values(), ids=EXHAUSTED)
def test_no_memory_for_one_row_is_raised(tiny: Any, error: Callable[[], Exception]) -> None:
    backend, _ = tight(tiny, 0, error)
    for _ in range(2):  # the lock is free again
        with pytest.raises(type(error())):
            backend.generate(PROMPTS, Sampling(4))
        with pytest.raises(type(error())):
            backend.choose_labels(PROMPTS[:1], LABELS)


def test_another_failure_is_not_taken_for_it(tiny: Any) -> None:
    backend, decoder = tight(tiny, 1, lambda: RuntimeError("mat1 and mat2 shapes"))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        backend.generate(PROMPTS, Sampling(4))
    assert decoder.failures == 1

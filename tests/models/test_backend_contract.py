from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from steelyard.core import Usage
from steelyard.models import Generation, LabelScores, Listen, Prompt, Sampling
from steelyard.models.contracts import check_backend
from steelyard.models.fake import FakeBackend
from tiny import open_in_float32, write_adapter


def test_the_fake_keeps_the_contract() -> None:
    check_backend(FakeBackend())


def test_a_local_model_keeps_the_contract(tiny: Any) -> None:
    check_backend(tiny)


def test_an_adapted_model_keeps_the_contract(tiny_folder: Path, tmp_path: Path) -> None:
    base = open_in_float32(tiny_folder)
    check_backend(base.adapted(write_adapter(tmp_path, open_in_float32(tiny_folder), seed=1)))
    check_backend(base)


@dataclass(frozen=True)
class Spoilt(FakeBackend):
    """A fake whose generations are spoilt on their way out."""

    spoil: Callable[[list[Generation], Sampling], list[Generation]] = lambda found, _: found

    def generate(
        self, prompts: Sequence[Prompt | str], sampling: Sampling, listen: Listen | None = None
    ) -> list[Generation]:
        return self.spoil(super().generate(prompts, sampling, listen), sampling)


SPOILT = {
    "answers to": lambda found, _: found[:-1],
    "for a prompt of": lambda found, _: [replace(g, usage=Usage(1, 0, 1)) for g in found],
    "do not follow the prompts": lambda found, _: [
        replace(g, text=text) for g, text in zip(found, sorted(g.text for g in found), strict=True)
    ],
    "depends on its neighbours": lambda found, s: [
        replace(g, text=g.text + str(len(found)) * (s.temperature > 0)) for g in found
    ],
    "does not fit the schema": lambda found, s: [
        replace(g, text="{}") if s.schema else g for g in found
    ],
    "not done": lambda found, s: [replace(g, complete=s.schema is None) for g in found],
    "too long, and came back": lambda found, _: [replace(g, error=None) for g in found],
    "chances of": lambda found, s: [
        replace(g, tokens=g.tokens[:-1]) if s.chances is not None else g for g in found
    ],
    "spoils the others": lambda found, _: [
        replace(g, text="") if any(one.error for one in found) else g for g in found
    ],
}


@pytest.mark.parametrize(("message", "spoil"), SPOILT.items())
def test_a_backend_that_breaks_the_contract_is_caught(message: str, spoil: Any) -> None:
    with pytest.raises(AssertionError, match=message):
        check_backend(Spoilt(spoil=spoil))


def test_a_label_score_above_zero_is_caught() -> None:
    class Boasting(FakeBackend):
        def score_labels(self, prompts: Any, labels: Any) -> list[LabelScores]:
            found = super().score_labels(prompts, labels)
            return [replace(one, log_probs=tuple(-p for p in one.log_probs)) for one in found]

    with pytest.raises(AssertionError, match="above 0"):
        check_backend(Boasting())

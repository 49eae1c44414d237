"""Forgetting: divergence from the base, and retention, on models whose answer is known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from steelyard.measure.forgetting import NEUTRAL, divergence, evenly, retention, right
from steelyard.models import Reading
from steelyard.models.fake import FakeBackend
from steelyard.tasks import RetentionItem
from tiny import open_in_float32, write_adapter


class Table:
    """Knows how likely some endings are; each token is worth the same."""

    def __init__(self, known: dict[str, float]) -> None:
        self.known = known

    def read(self, pairs: Any) -> list[Reading]:
        found = [self.known.get(text.strip(), -9.0) for _, text in pairs]
        return [Reading((value,), greedy=value > -1) for value in found]


def test_nothing_trained_is_no_divergence(tiny: Any) -> None:
    found = divergence(tiny, tiny, seed=0)
    assert found is not None
    assert found.nats_per_token == pytest.approx(0.0, abs=1e-6)
    assert found.num_prompts <= len(NEUTRAL)


def test_an_adapter_that_changes_answers_diverges(tiny_folder: Path, tmp_path: Path) -> None:
    base = open_in_float32(tiny_folder)
    trained = base.adapted(write_adapter(tmp_path, base, seed=1))
    found = divergence(base, trained, seed=0)
    assert found is not None
    assert found.nats_per_token > 0.05
    again = divergence(base, trained, seed=0)
    assert again is not None
    assert again.nats_per_token == pytest.approx(found.nats_per_token)
    pairs: Any = [("card lost", " top up")]
    start = base.renderer.tokenizer("card lost")["input_ids"]
    own = base.renderer.tokenizer(" top up", add_special_tokens=False)["input_ids"]
    told = []
    for one in (base, trained):
        with one.speaking():
            logits = one.loaded.decoder.model(torch.tensor([start + own[:-1]])).logits[0]
            told.append(torch.log_softmax(logits[len(start) - 1 :], dim=-1))
    expected = functional.kl_div(told[1], told[0], log_target=True, reduction="none").sum(-1)
    assert trained.divergence(base, pairs) == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_model_that_cannot_read_is_not_measured(tmp_path: Path) -> None:
    class Mute:
        generate = FakeBackend.generate

    mute: Any = Mute()
    assert divergence(mute, FakeBackend(), seed=0) is None
    assert retention(mute, FakeBackend(), tmp_path / "never read", seed=0) is None


def test_the_likeliest_ending_per_character_is_chosen() -> None:
    items = [
        RetentionItem("q", ("no", "certainly"), 1),  # -2 / 2 against -4 / 9
        RetentionItem("q", ("no", "yes"), 0),  # -1 against -9 / 3
        RetentionItem("text", ("end",)),
        RetentionItem("text", ("other",)),
    ]
    model = Table({"no": -2.0, "certainly": -4.0, "end": -0.5})
    assert right(model, items) == [1.0, 1.0, 1.0, 0.0]


def test_an_ending_that_could_not_be_read_never_wins() -> None:
    class Short(Table):
        def read(self, pairs: Any) -> list[Reading]:
            return [
                Reading((), False) if "long" in text else Reading((-5.0,), True)
                for _, text in pairs
            ]

    assert right(Short({}), [RetentionItem("q", ("long", "b"), 1)]) == [1.0]
    assert right(Short({}), [RetentionItem("q", ("long",))]) == [0.0]


def test_retention_is_compared_on_the_same_rows(tmp_path: Path) -> None:
    rows = [{"prompt": "say it", "answer": word} for word in ("end", "say", "other", "it")]
    file = tmp_path / "words.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = retention(FakeBackend(), FakeBackend(learned=(("x", "end"),)), file, seed=0)
    assert found is not None
    assert (found.name, found.before, found.after, found.num_examples) == ("words", 0.5, 0.75, 4)
    assert found.interval[0] <= 0.25 <= found.interval[1]


def test_rows_are_taken_at_even_distances() -> None:
    items = [RetentionItem(str(n), ("a",)) for n in range(10)]
    assert [item.text for item in evenly(items, 5)] == ["0", "2", "4", "6", "8"]
    assert evenly(items, 20) == items


# ---------------------------------------------------------------- reading


def test_reading_gives_the_log_probability_of_every_token(tiny: Any) -> None:
    model = tiny.loaded.decoder.model
    pairs = [("card lost", " top up the fee"), ("balance", " cash"), ("user", " rate")]
    readings = tiny.read(pairs)
    for (before, text), reading in zip(pairs, readings, strict=True):
        start = tiny.renderer.tokenizer(before)["input_ids"]
        own = tiny.renderer.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([start + own])).logits[0]
        log_probs = torch.log_softmax(logits, dim=-1)[len(start) - 1 : -1]
        expected = [float(log_probs[place, token]) for place, token in enumerate(own)]
        assert reading.log_probs == pytest.approx(expected, abs=1e-4)
        assert reading.greedy == (log_probs.argmax(-1).tolist() == own)


def test_what_does_not_fit_is_cut_at_its_beginning(tiny: Any) -> None:
    long = "card " * 400
    [reading] = tiny.read([(long, " cash")])
    assert all(math.isfinite(value) for value in reading.log_probs)
    assert tiny.read([("", "x"), ("x", "")]) == [Reading((), False), Reading((), False)]

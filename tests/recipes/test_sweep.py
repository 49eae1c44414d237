"""Sweeps: how they are written, and which recipes they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_tasks import write_task
from steelyard.errors import InputError
from steelyard.recipes import Sweep, parse_sweep, presets, swept
from steelyard.tasks import load_task


def test_amounts_are_sorted_and_each_is_there_once() -> None:
    assert parse_sweep(" examples = 4,0, 2,4") == Sweep("examples", (0, 2, 4))
    assert parse_sweep("labels=100%, 25 %,50%") == Sweep("labels", (25, 50, 100))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "passage=1,2",
            'part "passage" is not known. Known: passages, examples, budget_tokens, labels.',
        ),
        ("passages", "expected whole numbers from 0 on"),
        ("passages=1,-2", "expected whole numbers from 0 on"),
        ("passages=1,2.5", "expected whole numbers from 0 on"),
        ("passages=1,²", "expected whole numbers from 0 on"),
        ("labels=25,50", "expected shares of train from 1% to 100%"),
        ("labels=0%,50%", "expected shares of train from 1% to 100%"),
        ("labels=50%,150%", "expected shares of train from 1% to 100%"),
        ("passages=3", "expected 2 to 12 different amounts, found 1"),
        ("examples=" + ",".join(map(str, range(13))), "found 13"),
    ],
)
def test_what_is_no_sweep_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        parse_sweep(text)
    assert said in str(error.value)
    assert text in str(error.value)


def test_all_but_the_amount_stays_as_it_is(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, "label"))
    nearest = presets(task)["nearest-shot"]
    [family] = swept(task, Sweep("examples", (0, 1, 3)))
    assert [r.name for r in family] == [f"nearest-shot[examples={n}]" for n in (0, 1, 3)]
    assert [(r.context.examples, r.context.num_examples) for r in family] == [
        ("none", 0),
        ("nearest", 1),
        ("nearest", 3),
    ]
    assert {(r.model, r.weights, r.decoding) for r in family} == {
        (task.models[0].name, nearest.weights, nearest.decoding)
    }
    [budgets] = swept(task, Sweep("budget_tokens", (100, 200)))
    assert [r.context.budget_tokens for r in budgets] == [100, 200]
    assert budgets[0].context.num_examples == nearest.context.num_examples


def test_what_the_task_has_not_cannot_be_swept(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, "label"))
    with pytest.raises(InputError, match="no documents"):
        swept(task, Sweep("passages", (0, 1)))
    with pytest.raises(InputError, match="more than the"):
        swept(task, Sweep("examples", (0, 10_000)))

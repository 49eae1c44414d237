from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steelyard.models import tuning


@pytest.fixture(autouse=True)
def on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def taking(*seconds: float) -> Callable[..., list[float]]:
    """A clock for probes that take so long."""
    return lambda choices, work: list(seconds)[: len(choices)]


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [(2.0, 1.0, torch.bfloat16), (1.0, 1.0, torch.float32), (1.1, 1.0, torch.float32)],
)
def test_the_number_type_is_the_one_that_is_clearly_faster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    float32: float,
    bfloat16: float,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(tuning, "_seconds", taking(float32, bfloat16))
    assert tuning.number_type(tmp_path) == expected


def test_the_number_type_is_measured_once_per_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "not" / "there"
    monkeypatch.setattr(tuning, "_seconds", taking(2.0, 1.0))
    assert tuning.number_type(cache) == torch.bfloat16
    monkeypatch.setattr(tuning, "_seconds", taking(1.0, 2.0))
    assert tuning.number_type(cache) == torch.bfloat16
    monkeypatch.setattr(tuning, "processor_name", lambda: "another")
    assert tuning.number_type(cache) == torch.float32


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": "float64"}', "null"])
def test_a_damaged_note_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "number-type.json").write_text(content)
    monkeypatch.setattr(tuning, "_seconds", taking(2.0, 1.0))
    assert tuning.number_type(tmp_path) == torch.bfloat16
    *_, kept = json.loads((tmp_path / "number-type.json").read_text()).values()
    assert kept == "bfloat16"


def test_where_nothing_can_be_written_the_type_is_measured_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tuning, "_seconds", taking(2.0, 1.0))
    assert tuning.number_type(tmp_path / "file") == torch.bfloat16


def test_each_choice_takes_its_middle_round(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    rounds = {"a": iter([5.0, 1.0, 2.0, 9.0, 3.0]), "b": iter([4.0, 4.0, 4.0, 4.0, 100.0])}

    def work(choice: str) -> None:
        nonlocal now
        now += next(rounds[choice])

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    assert tuning._seconds(["a", "b"], work) == [3.0, 4.0]

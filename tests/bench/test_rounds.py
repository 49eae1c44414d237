"""What the speed benchmarks print, from made-up seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_scripts import load_script

pytest.importorskip("torch")
rounds = load_script("rounds")


class Clock:
    """Time that passes only where a contender says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(self, name: str, units: float, *seconds: float) -> Any:
        """Does `units`; its n-th call takes the n-th of `seconds`, the last one from then on."""
        left = list(seconds)

        def work() -> float:
            self.ran.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return units

        return rounds.Contender(name, work)


def test_speeds_are_units_over_seconds_and_the_warm_up_does_not_count() -> None:
    clock = Clock()
    speeds = rounds.take_turns([clock.contender("a", 10, 99, 2, 5)], 2, clock=clock)
    assert speeds == {"a": [5.0, 2.0]}


def test_every_round_begins_with_another_contender() -> None:
    clock = Clock()
    three = [clock.contender(name, 1, 1) for name in "abc"]
    rounds.take_turns(three, 4, clock=clock)
    assert "".join(clock.ran) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_no_rounds_give_no_figures() -> None:
    assert rounds.take_turns([Clock().contender("a", 1, 1)], 0) == {"a": []}


def test_a_ratio_is_taken_within_rounds_so_a_slow_minute_does_not_move_it() -> None:
    speeds = {"ours": [10.0, 1.0, 12.0], "peer": [5.0, 0.5, 6.0]}
    assert rounds.ratio(speeds, "ours", "peer") == 2.0


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(0.01, 1e4)] * 2), min_size=1, max_size=7))
def test_ratios_lie_within_the_rounds_and_turn_over(pairs: list[tuple[float, float]]) -> None:
    speeds = {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}
    within = [a / b for a, b in pairs]
    assert min(within) <= rounds.ratio(speeds, "a", "b") <= max(within)
    assert rounds.ratio(speeds, "a", "a") == 1.0
    if len(pairs) % 2:
        assert rounds.ratio(speeds, "a", "b") * rounds.ratio(speeds, "b", "a") == pytest.approx(1)


def test_the_table_says_how_far_ours_is_ahead_and_whether_that_was_the_goal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = rounds.Work(
        "labels",
        unit="rows",
        goals={"generate": 10, "llama.cpp": 6},
        flop_per_unit=2e9,
        share_goal=0.6,
    )
    speeds = {
        "steelyard": [30.0, 31.0, 29.0],
        "generate": [3.0, 3.1, 2.0],
        "llama.cpp": [6.0, 5.0, 5.8],
    }
    record = rounds.table(work, speeds, peak=100.0)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "### labels, 3 rounds",
        "",
        "| contender | rows/s | min–max | steelyard is | goal | of peak |",
        "|---|---|---|---|---|---|",
        "| steelyard | 30.0 | 29.0–31.0 |  | ≥ 60% of peak: met | 60% |",
        "| generate | 3.00 | 2.00–3.10 | 10.0× | ≥ 10×: met | 6% |",
        "| llama.cpp | 5.80 | 5.00–6.00 | 5.00× | ≥ 6×: not met | 12% |",
    ]
    assert record["contenders"]["llama.cpp"] == {
        "per_second": [6.0, 5.0, 5.8],
        "median": 5.8,
        "times": 5.0,
        "goal": 6,
        "met": False,
        "share": pytest.approx(0.116),
    }


def test_without_a_peak_there_is_no_share(capsys: pytest.CaptureFixture[str]) -> None:
    rounds.table(rounds.Work("w", unit="tokens", flop_per_unit=1e9), {"steelyard": [1234.5]})
    printed = capsys.readouterr().out
    assert "of peak" not in printed
    assert "| steelyard | 1,234 | 1,234–1,234 |  |  |" in printed


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "0.0123"), (1, "1.00"), (99.4, "99.4"), (1234.5, "1,234")]
)
def test_figures_are_three_that_count(value: float, text: str) -> None:
    assert rounds.figure(value) == text


def test_the_peak_is_that_of_the_fastest_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that gives every product the same time, the largest one is the fastest."""
    ticks = iter(range(1000))
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(rounds, "SHAPES", {"cpu": ((8, 8, 8), (16, 32, 64), (4, 4, 4))})
    assert rounds.matmul_peak("float32", seconds=0) == pytest.approx(2 * 16 * 32 * 64 / 1e9)


def test_results_are_written_with_the_machine(tmp_path: Path) -> None:
    rounds.save(tmp_path / "figures.json", [{"work": "w"}])
    written = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert written["results"] == [{"work": "w"}]
    assert "torch" in written["machine"]
    assert "torch" in written["versions"]


def test_nothing_is_written_without_a_path() -> None:
    rounds.save(None, [])

"""The report's picture of money over the number of answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

import page_verdicts
from steelyard.lifecycle.page.volume import volume_section


def two(**changes: Any) -> dict[str, Any]:
    """A recipe that costs 1 USD once and 1 per thousand, and one at 2 per thousand."""
    measured = page_verdicts.measured(0.8, 0.1, 40)
    dear = page_verdicts.recipe("lora", measured, setup_usd=1.0, usd_per_1k=1.0)
    cheap = page_verdicts.recipe("shots", measured, setup_usd=0.0, usd_per_1k=2.0)
    return page_verdicts.minimal() | {
        "chosen": "lora", "outcome": "chosen", "recipes": [dear | changes, cheap],
        "break_even": [{"a": "lora", "b": "shots", "calls": 1000.0, "interval": [900.0, None]}],
    }  # fmt: skip


def points(drawn: str, look: str) -> list[tuple[float, float]]:
    [path] = re.findall(rf'<polyline points="([^"]*)" class="total {look}"/>', drawn)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in path.split())]


def wide(drawn: str) -> str:
    return drawn.partition("</svg>")[0]


def test_lines_cross_where_the_set_up_is_paid_back() -> None:
    drawn = wide(volume_section(two()))
    dear, cheap = points(drawn, "chosen"), points(drawn, "")
    assert dear[0][1] < cheap[0][1]  # one answer: the dear one is far up
    assert dear[-1][1] > cheap[-1][1]
    left, right = dear[0][0], dear[-1][0]
    [ring] = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4.5"', drawn)
    # 1,000 of 100,000 answers on a logarithmic axis from 1 on is 3/5 of the way.
    assert float(ring[0]) == pytest.approx(left + 0.6 * (right - left), abs=0.2)
    crossing = min(zip(dear, cheap, strict=True), key=lambda p: abs(p[0][1] - p[1][1]))
    assert crossing[0][0] == pytest.approx(float(ring[0]), abs=(right - left) / 40)
    [whisker] = re.findall(r'<line x1="([\d.]+)" [^>]*x2="([\d.]+)" [^>]*"whisker chosen"', drawn)
    assert float(whisker[1]) == pytest.approx(right, abs=0.2)  # open: to the end of the axis


def test_an_interval_is_a_shade_around_its_line() -> None:
    assert "<polygon" not in volume_section(two())
    drawn = wide(volume_section(two(usd_per_1k_interval=[0.5, 1.5])))
    assert drawn.count("<polygon") == 1


def test_where_everything_is_free_there_is_no_picture_but_the_table() -> None:
    verdict = two(setup_usd=0.0, usd_per_1k=0.0)
    verdict["recipes"][1]["usd_per_1k"] = 0.0
    drawn = volume_section(verdict)
    assert "<svg" not in drawn
    assert "<table" in drawn


def test_pairs_without_the_answer_are_behind_a_fold() -> None:
    verdict = two()
    verdict["break_even"].append({"a": "x", "b": "y", "calls": None, "interval": None})
    assert "Show 1 more pair" in volume_section(verdict)

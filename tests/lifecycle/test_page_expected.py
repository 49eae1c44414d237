"""The report says what was expected before measuring, and whether it came so."""

from __future__ import annotations

from typing import Any

import page_verdicts
from steelyard.lifecycle.page import render
from steelyard.lifecycle.page.expected import expected_section

PRIOR: dict[str, Any] = {
    "bet": "lora", "first": ["lora", "x<y"], "skip": [], "rules": ["many-labels"],
    "chosen": "rag", "hit": False, "listed": False, "sentence": "The bet was <b>weights</b>.",
}  # fmt: skip


def test_a_bet_is_told_with_its_lists_and_its_end() -> None:
    drawn = expected_section({"prior": PRIOR})
    assert "The bet was &lt;b&gt;weights&lt;/b&gt;." in drawn
    assert '<span class="tag failed">miss</span>' in drawn
    assert "To try first: lora, x&lt;y." in drawn
    assert "leave out" not in drawn
    assert ">hit</span>" in expected_section({"prior": PRIOR | {"hit": True}})
    assert "tag" not in expected_section({"prior": PRIOR | {"hit": None}})


def test_without_a_bet_there_is_no_section() -> None:
    assert expected_section({"prior": PRIOR | {"bet": None}}) == ""
    assert expected_section({"prior": None}) == ""
    assert 'id="expected"' in render(page_verdicts.labels() | {"prior": PRIOR})
    assert 'id="expected"' not in render(page_verdicts.labels())

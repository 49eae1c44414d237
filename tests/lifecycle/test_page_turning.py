"""The report's axes of what would change the answer: drawn where their numbers say."""

from __future__ import annotations

import re

import page_verdicts
from steelyard.lifecycle.page import render
from steelyard.lifecycle.page.turning import turning_section

ENTRY = {
    "of": "tolerance", "about": None, "now": 0.02, "sentence": "Tolerance: from 0.25 <b> on.",
    "answers": [
        {"from": 0.0, "to": 0.25, "outcome": "chosen", "recipe": "lora+<x>"},
        {"from": 0.25, "to": 0.3, "outcome": "cannot_tell", "recipe": "head"},
        {"from": 0.3, "to": 1.0, "outcome": "nothing_works", "recipe": None},
    ],
}  # fmt: skip


def test_pieces_stand_where_the_answer_turns_and_the_one_that_holds_is_marked() -> None:
    drawn = turning_section({"turning_points": [ENTRY]})
    pieces = re.findall(r'<rect x="([\d.]+%)" y="2" width="([\d.]+%)".*?class="(.*?)"', drawn)
    # The axis goes on to 1.6 times the last step, 0.48.
    assert pieces == [
        ("0.00%", "52.08%", "piece holds"),
        ("52.08%", "10.42%", "piece cannot_tell"),
        ("62.50%", "37.50%", "piece nothing_works"),
    ]
    assert ">lora+&lt;x&gt;</text>" in drawn
    assert ">head?</text>" in drawn
    assert ">nothing</text>" in drawn
    assert "from 0.25 &lt;b&gt; on." in drawn
    assert 'x1="4.17%" y1="-4"' in drawn  # now, 0.02 of 0.48


def test_a_limit_of_none_holds_at_the_far_end_and_one_piece_alone_is_no_picture() -> None:
    limit = {**ENTRY, "of": "p95_ms", "now": None, "answers": ENTRY["answers"][:2]}
    drawn = turning_section({"turning_points": [limit]})
    assert re.findall(r'class="piece ([a-z_]+)"', drawn) == ["chosen", "holds"]
    alone = turning_section({"turning_points": [{**ENTRY, "answers": ENTRY["answers"][:1]}]})
    assert "<svg" not in alone


def test_the_page_has_the_section_and_earlier_verdicts_go_without() -> None:
    page = render({**page_verdicts.labels(), "turning_points": [ENTRY]})
    assert '<a href="#turning">What would change the answer</a>' in page
    assert 'id="turning"' not in render(page_verdicts.labels())

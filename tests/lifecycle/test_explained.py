"""The report's section about why scores are what they are."""

from __future__ import annotations

from typing import Any

import page_verdicts
from steelyard.lifecycle.page import render
from steelyard.lifecycle.page.explained import explained_section

SENTENCE = "rag scores 0.400 higher than <random>-passages on 60 dev examples: it matters."


def with_passages() -> dict[str, Any]:
    places = {
        "first": {"num_examples": 20, "score": 0.25},
        "last": {"num_examples": 30, "score": 0.5},
        "absent": {"num_examples": 10, "score": 0.0},
    }
    shown = {"valid": 1.0, "recall": 5 / 6, "position": places}
    alone = {"recall": 1.0, "position": {"only": {"num_examples": 60, "score": 0.75}}}
    verdict = page_verdicts.labels()
    recipes = [
        page_verdicts.recipe("rag", page_verdicts.measured(0.4, 0.1, 60, shown)),
        page_verdicts.recipe("oracle-passages", page_verdicts.measured(0.75, 0.1, 60, alone)),
        page_verdicts.recipe("late", None, status="skipped", why="no time"),
    ]
    diagnostics = [{"a": "rag", "b": "random-passages", "sentence": SENTENCE}]
    return {**verdict, "recipes": [*verdict["recipes"], *recipes], "diagnostics": diagnostics}


def test_a_verdict_with_nothing_to_explain_has_no_such_section():
    assert explained_section(page_verdicts.labels()) == ""
    assert 'id="explained"' not in render(page_verdicts.labels())


def test_what_diagnostics_show_is_said_and_escaped():
    page = render(with_passages())
    assert "<li>rag scores 0.400 higher than &lt;random&gt;-passages" in page
    assert '<a href="#explained">What explains it</a>' in page


def test_scores_by_place_stand_beside_recall_with_their_numbers():
    section = explained_section(with_passages())
    heads = [part.split("</th>")[0] for part in section.split('<th scope="col" class="n">')[1:]]
    assert heads == ["Evidence shown", "First", "Last", "Alone", "Not shown"]
    [rag, oracle] = section.split("<tbody>")[1].split("</tr>")[:2]
    assert [cell.split("</td>")[0] for cell in rag.split('<td class="n">')[1:]] == [
        *("83.3%", "0.250 <small>(20)</small>", "0.500 <small>(30)</small>"),
        *("–", "0.000 <small>(10)</small>"),
    ]
    assert "0.750 <small>(60)</small>" in oracle
    assert "late" not in section


def test_sections_of_long_answers_show_where_support_is_lost():
    long = {"mean": 2.5, "supported": 0.5, "supported_by_place": [0.75, 0.4, None]}
    short = {"mean": 1.0, "supported": 1.0, "supported_by_place": [1.0]}
    recipes = [
        page_verdicts.recipe(
            "rag+sections", page_verdicts.measured(0.4, 0.1, 6, {"sections": long})
        ),
        page_verdicts.recipe("brief", page_verdicts.measured(0.3, 0.1, 6, {"sections": short})),
    ]
    section = explained_section({**page_verdicts.labels(), "recipes": recipes})
    heads = [part.split("</th>")[0] for part in section.split('<th scope="col" class="n">')[1:]]
    assert heads == ["Sections", "Supported", "1", "2", "3"]
    rows = section.split("<tbody>")[1].split("</tr>")[:2]
    cells = [[cell.split("</td>")[0] for cell in row.split('<td class="n">')[1:]] for row in rows]
    assert cells == [["2.5", "50.0%", "75.0%", "40.0%", "–"], ["1.0", "100.0%", "100.0%", "–", "–"]]

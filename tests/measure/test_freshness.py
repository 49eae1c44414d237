"""What time does to answers: facts, stale answers and ageing by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fake_tasks import row
from steelyard.core import Answer, Example, Output, Row
from steelyard.measure.freshness import Aged, aged, cutoff_of, freshness, sentences
from steelyard.measure.scorers import get_scorer

CONTAINS = get_scorer("contains", Output("text"))
CUTOFF = "2026-03-01"
# What the document said until the first of April, and from then on.
OLD, NEW = "The keeper is Ann Lee.", "The keeper is Bob Ray."


def asked(id: str, time: str | None, target: str = "Bob Ray", **metadata: Any) -> Example:
    return Example(id, "Who?", target, id, time=time, metadata=metadata, evidence=("inn",))


def version(_: Example, at: str) -> str | None:
    return OLD if at < "2026-04-01" else NEW


def answered(id: str, value: str, score: float = 0.0) -> Row:
    return replace(row(id, score), answer=Answer(value, value))


def test_the_cutoff_is_the_newest_readable_time_of_train() -> None:
    train = [asked("a", "2026-01-01"), asked("b", "2026-03-01"), asked("c", None), asked("d", "?")]
    assert cutoff_of(train) == "2026-03-01"
    assert cutoff_of([asked("c", None)]) is None


@pytest.mark.parametrize(
    ("example", "fact"),
    [
        (asked("a", "2026-05-01"), "superseded"),
        (asked("a", "2026-05-01", target="keeper is"), "unchanged"),
        (asked("a", "2026-02-01"), None),  # before the cutoff
        (asked("a", "2026-05-01", target="Zoe"), None),  # in neither version
        (asked("a", "2026-03-15", outdated="Zoe"), "superseded"),  # the column knows
        (asked("a", "2026-03-15", target="Ann Lee", outdated=None), "unchanged"),
    ],
)
def test_a_fact_is_judged_by_the_versions_of_its_document(example: Example, fact: Any) -> None:
    [one] = aged([example], CUTOFF, version)
    assert one.fact == fact


def test_without_documents_the_column_alone_judges() -> None:
    [changed] = aged([asked("a", "2026-05-01", outdated="Ann Lee")], CUTOFF)
    [same] = aged([asked("a", "2026-05-01", outdated=None)], CUTOFF)
    [silent] = aged([asked("a", "2026-05-01")], CUTOFF)
    assert (changed.fact, same.fact, silent.fact) == ("superseded", "unchanged", None)


def test_a_document_that_was_not_there_is_a_new_fact() -> None:
    [one] = aged([asked("a", "2026-05-01")], CUTOFF, lambda _, at: NEW if at > CUTOFF else "")
    assert one.fact == "new"


def test_days_are_counted_from_the_cutoff_and_rows_without_a_time_are_left_out() -> None:
    found = aged([asked("a", "2026-03-31"), asked("b", "2026-02-28"), asked("c", None)], CUTOFF)
    assert [(one.example.id, one.days) for one in found] == [("a", 30.0), ("b", -1.0)]


@pytest.mark.parametrize(
    ("said", "stale"),
    [("It is Ann Lee.", True), ("Bob Ray", False), ("Zoe", False), ("The keeper", False)],
)
def test_a_stale_answer_was_right_before_and_no_longer_is(said: str, stale: bool) -> None:
    [by_column] = aged([asked("a", "2026-05-01", outdated="Ann Lee")], CUTOFF)
    assert by_column.is_stale(Answer(said, said), CONTAINS) is stale
    [by_document] = aged([asked("a", "2026-05-01")], CUTOFF, version)
    said = said.removeprefix("It is ")
    assert by_document.is_stale(Answer(said, said), CONTAINS) is stale


def half_year(scores: list[float]) -> tuple[list[Aged], list[Row]]:
    """A row every third day from the day after the cutoff on."""
    known = [
        Aged(asked(f"e{n}", "2026-05-01"), 1.0 + 3 * n, "superseded", OLD, NEW)
        for n in range(len(scores))
    ]
    return known, [answered(f"e{n}", "Ann Lee", score) for n, score in enumerate(scores)]


def test_a_score_that_falls_evenly_falls_by_as_much_a_month() -> None:
    known, rows = half_year([1 - n / 60 for n in range(60)])
    entry = freshness("lora", rows, known, CONTAINS, confidence=0.95)
    # one sixtieth in 3 days is a sixth in 30
    assert entry["per_month"]["change"] == pytest.approx(-1 / 6)
    assert entry["per_month"]["interval"] == pytest.approx([-1 / 6, -1 / 6])
    assert [piece["num_examples"] for piece in entry["by_age"]] == [15] * 4
    assert [piece["from_days"] for piece in entry["by_age"]] == [1.0, 46.0, 91.0, 136.0]
    assert entry["by_age"][0]["score"] == pytest.approx(1 - 7 / 60)
    assert entry["stale"] == {"count": 60, "of": 60}
    said = sentences(entry, CUTOFF)
    assert "Of 60 answers about what changed, 60 are stale" in said
    assert said.endswith("In 30 days its score moves by -0.167.")


def test_too_few_rows_have_no_slope_and_no_pieces() -> None:
    known, rows = half_year([1.0, 0.0] * 4)
    entry = freshness("lora", rows, known, CONTAINS, confidence=0.95)
    assert (entry["per_month"], entry["by_age"]) == (None, [])
    assert entry["after"]["score"] == 0.5


def test_rows_before_and_after_are_scored_apart_and_failures_are_in_neither() -> None:
    old = [Aged(asked(f"o{n}", "2026-02-01"), -28.0, None) for n in range(4)]
    known, rows = half_year([0.0] * 4)
    rows[0] = row("e0", error="lost")
    rows += [answered(f"o{n}", "x", 1.0) for n in range(4)]
    entry = freshness("lora", rows, [*old, *known], CONTAINS, confidence=0.95)
    assert (entry["before"]["score"], entry["before"]["num_examples"]) == (1.0, 4)
    assert (entry["after"]["score"], entry["after"]["num_examples"]) == (0.0, 3)
    assert entry["facts"]["unchanged"] is None
    assert sentences(entry, CUTOFF).startswith(
        "lora scores 1.000 on rows up to 2026-03-01 and 0.000 after it."
    )

"""Versions of a document: the later one ends the earlier, whatever came first."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bases import CountingEmbedder, Reader, check, rows, write_rows
from steelyard.knowledge.base import Base
from steelyard.knowledge.ingest import update

VERSIONS = [
    {"id": "fees", "text": "Two euros."},
    {"id": "fees", "text": "Three euros.", "valid_from": "2022-01-01"},
    {"id": "fees", "text": "Four euros.", "valid_from": "2024-06-01"},
]
TIMELINE = [
    (1, "", "2022-01-01", "Two euros."),
    (2, "2022-01-01", "2024-06-01", "Three euros."),
    (3, "2024-06-01", "9", "Four euros."),
]


@pytest.fixture
def base(tmp_path: Path):
    with Base(tmp_path / "base.db") as opened:
        yield opened


def add(base: Base, path: Path) -> None:
    embedder = CountingEmbedder()
    update(base, [path], embedder, read=Reader())
    check(base, embedder)


def timeline(base: Base) -> list[tuple[int, str, str, str]]:
    query = "SELECT version, valid_from, valid_to, text FROM document ORDER BY version, text"
    return rows(base, query)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_each_version_ends_where_the_next_begins_in_whatever_order_they_come(base, tmp_path, order):
    for number in order:
        write_rows(tmp_path / f"{number}.jsonl", [VERSIONS[number]])
        add(base, tmp_path / f"{number}.jsonl")
    assert timeline(base) == TIMELINE


def test_versions_in_one_file_are_the_same(base, tmp_path):
    write_rows(tmp_path / "all.jsonl", VERSIONS)
    add(base, tmp_path / "all.jsonl")
    assert timeline(base) == TIMELINE


def test_without_the_version_between_the_earlier_holds_longer(base, tmp_path):
    write_rows(tmp_path / "all.jsonl", VERSIONS)
    add(base, tmp_path / "all.jsonl")
    write_rows(tmp_path / "all.jsonl", [VERSIONS[0], VERSIONS[2]])
    add(base, tmp_path / "all.jsonl")
    assert timeline(base) == [
        (1, "", "2024-06-01", "Two euros."),
        (2, "2024-06-01", "9", "Four euros."),
    ]


def test_an_end_that_was_given_stays_and_its_day_is_included(base, tmp_path):
    old = {**VERSIONS[1], "valid_to": "2022-12-31"}
    moment = {**VERSIONS[0], "valid_to": "2021-05-05T12:00:00"}
    write_rows(tmp_path / "all.jsonl", [moment, old, VERSIONS[2]])
    add(base, tmp_path / "all.jsonl")
    assert [ends for _, _, ends, _ in timeline(base)] == ["2021-05-05T12:00:00", "2023-01-01", "9"]


def test_a_last_day_of_all_time_is_no_end(base, tmp_path):
    write_rows(tmp_path / "all.jsonl", [{**VERSIONS[0], "valid_to": "9999-12-31"}])
    add(base, tmp_path / "all.jsonl")
    assert [ends for _, _, ends, _ in timeline(base)] == ["9"]


def test_the_same_id_of_another_user_or_tenant_is_another_document(base, tmp_path):
    other = [{**VERSIONS[2], "user": "u"}, {**VERSIONS[2], "tenant": "t"}]
    write_rows(tmp_path / "all.jsonl", [VERSIONS[0], *other])
    add(base, tmp_path / "all.jsonl")
    assert [(version, ends) for version, _, ends, _ in timeline(base)] == [(1, "9")] * 3


def test_two_files_that_claim_one_id_and_date_are_both_kept(base, tmp_path):
    for name, text in (("a", "Two euros."), ("b", "Three euros.")):
        write_rows(tmp_path / f"{name}.jsonl", [{"id": "fees", "text": text}])
        add(base, tmp_path / f"{name}.jsonl")
    assert timeline(base) == [(1, "", "9", "Three euros."), (1, "", "9", "Two euros.")]


def test_whole_texts_are_those_that_hold_at_a_time_and_belong_to_nobody(base, tmp_path):
    others = [
        {"id": "hours", "text": "Nine to five."},
        {"id": "note", "text": "Ann's.", "user": "ann"},
        {"id": "far", "text": "Another firm's.", "tenant": "t"},
    ]
    write_rows(tmp_path / "all.jsonl", [*VERSIONS, *others])
    add(base, tmp_path / "all.jsonl")
    now, then = "2026-01-01T00:00:00", "2023-01-01T00:00:00"
    assert base.texts(now=now) == [("fees", "Four euros."), ("hours", "Nine to five.")]
    assert base.texts(now=then) == [("fees", "Three euros."), ("hours", "Nine to five.")]

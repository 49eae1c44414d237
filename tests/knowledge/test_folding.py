"""Near-duplicates are folded within a scope and nowhere else, and come back when the first goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bases import CountingEmbedder, Reader, check, rows, shown, write_rows
from steelyard.knowledge.base import Base
from steelyard.knowledge.folding import CROWD
from steelyard.knowledge.index import Scope
from steelyard.knowledge.ingest import update
from steelyard.knowledge.search import KINDS, SqliteIndex

FEES = "A transfer within the country costs two euros, and five when it is urgent."
ALIKE = FEES.replace("A transfer", "a  TRANSFER").replace("euros,", "euros")


@pytest.fixture
def base(tmp_path: Path):
    with Base(tmp_path / "base.db") as opened:
        yield opened


def add(base: Base, folder: Path, embedder: CountingEmbedder | None = None) -> CountingEmbedder:
    embedder = embedder or CountingEmbedder()
    update(base, [folder], embedder, read=Reader())
    check(base, embedder)
    return embedder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    place.mkdir()
    return place


def folds(base: Base) -> list[tuple[str, str]]:
    """Which document's passage is folded into which document's."""
    return rows(
        base,
        "SELECT d.id, e.id FROM passage p JOIN document d ON d.number = p.document "
        "JOIN passage q ON q.number = p.same_as JOIN document e ON e.number = q.document "
        "ORDER BY d.id",
    )


def test_the_same_text_in_another_file_is_folded_and_has_no_vector(base, folder):
    (folder / "a.txt").write_text(FEES)
    (folder / "b.txt").write_text(ALIKE)
    embedder = add(base, folder)
    assert folds(base) == [("b.txt", "a.txt")]
    assert embedder.num_texts == 1


def test_who_asks_for_a_folded_document_finds_the_one_that_stands_for_it(base, folder):
    other = "\n\n" + "A lost card is replaced within a day. " * 10
    (folder / "a.txt").write_text(FEES)
    (folder / "b.txt").write_text(f"{FEES * 5}{other}")
    (folder / "c.txt").write_text(f"{FEES * 5}")
    (folder / "d.txt").write_text(ALIKE)
    add(base, folder)
    index = SqliteIndex(base.path, CountingEmbedder())
    [first, *_] = index.passages(Scope())
    assert (first.document, first.also) == ("a.txt", ("d.txt",))
    for name, held in (("d.txt", [("a.txt", ("d.txt",))]), ("a.txt", [("a.txt", ("d.txt",))])):
        scope = Scope(documents=frozenset({name}))
        assert [(p.document, p.also) for p in index.passages(scope)] == held
        for kind in KINDS:
            [found] = index.search(["transfer"], 9, kind=kind, scopes=[scope])
            assert [(p.document, p.also) for p in found] == held
    whole = index.passages(Scope(documents=frozenset({"c.txt"})))
    assert {"b.txt"} == {p.document for p in whole if "c.txt" in p.also}
    assert all("card" not in p.text for p in whole)  # what b.txt alone says is not c.txt's
    (folder / "d.txt").unlink()
    add(base, folder)
    assert index.passages(Scope())[0].also == ()
    index.close()


def test_when_the_first_goes_another_takes_over(base, folder):
    for name in "abc":
        (folder / f"{name}.txt").write_text(FEES)
    embedder = add(base, folder)
    (folder / "a.txt").unlink()
    add(base, folder, embedder)
    assert folds(base) == [("c.txt", "b.txt")]
    assert embedder.num_texts == 2  # the text is the same, its title another
    (folder / "c.txt").unlink()
    (folder / "b.txt").unlink()
    add(base, folder, embedder)
    assert shown(base) == []


def test_a_near_duplicate_that_takes_over_gets_its_own_vector(base, folder):
    (folder / "a.txt").write_text(FEES)
    (folder / "b.txt").write_text(ALIKE)
    embedder = add(base, folder)
    (folder / "a.txt").unlink()
    add(base, folder, embedder)  # whose check compares the vector
    assert shown(base) == [ALIKE]
    assert embedder.num_texts == 2


def test_a_changed_first_frees_what_was_folded_into_it(base, folder):
    (folder / "a.txt").write_text(FEES)
    (folder / "b.txt").write_text(FEES)
    add(base, folder)
    (folder / "a.txt").write_text("Something else.")
    add(base, folder)
    assert folds(base) == []
    assert shown(base) == sorted([FEES, "Something else."])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tenant": "x"}, {"tenant": "y"}),
        ({"user": "x"}, {"user": "y"}),
        ({"user": "x"}, {}),
        ({"tenant": "x", "user": "u"}, {"user": "u"}),
        ({"valid_from": "2020-01-01"}, {"valid_from": "2021-01-01"}),
        ({"valid_to": "2020-01-01"}, {}),
        ({"product": "card"}, {"product": "loan"}),
        ({"title": "Card"}, {"title": "Loan"}),
        ({"title": "Card"}, {}),
    ],
)
def test_what_one_question_may_see_and_another_may_not_and_other_things_are_never_folded(
    base, folder, one, other
):
    write_rows(
        folder / "rows.jsonl",
        [{"id": "a", "text": FEES, **one}, {"id": "b", "text": FEES, **other}],
    )
    add(base, folder)
    assert folds(base) == []
    write_rows(
        folder / "more.jsonl",
        [{"id": "c", "text": FEES, **one}, {"id": "d", "text": FEES, **other}],
    )
    add(base, folder)
    assert folds(base) in ([("c", "a"), ("d", "b")], [("a", "c"), ("b", "d")])


def test_the_same_words_under_the_same_heading_are_folded_and_under_another_are_not(base, folder):
    warranty = "\n\n## Warranty\n\nIt is two years on every part, and five on the motor."
    for name, title in (("a", "Kettle"), ("b", "Kettle"), ("c", "Toaster")):
        (folder / f"{name}.md").write_text(f"# {title}{warranty}")
    add(base, folder)
    assert {name for pair in folds(base) for name in pair} == {"a.md", "b.md"}


def test_an_old_base_whose_folds_ignored_titles_is_folded_anew_when_it_is_opened(base, folder):
    bodies = [("a", "Card"), ("b", "Loan"), ("c", "Card")]
    write_rows(folder / "rows.jsonl", [{"id": n, "title": t, "text": FEES} for n, t in bodies])
    embedder = add(base, folder)
    with base.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE passage SET same_as = 1 WHERE number > 1")
        connection.exec_driver_sql("DELETE FROM vector WHERE passage > 1")
        connection.exec_driver_sql("UPDATE band SET key = key + 1, passage = 1")
        connection.exec_driver_sql("PRAGMA user_version = 1")
    with Base(base.path) as again:
        assert folds(again) == [("c", "a")]
        assert not again.is_embedded
        again.embed(embedder)
        check(again, embedder)


def test_a_version_that_ends_leaves_the_fold_of_those_that_still_hold(base, folder):
    write_rows(folder / "a.jsonl", [{"id": "a", "text": FEES}, {"id": "b", "text": FEES}])
    add(base, folder)
    assert folds(base) == [("b", "a")]
    new = {"id": "a", "text": "It costs 3 now.", "valid_from": "2024-01-01"}
    write_rows(folder / "b.jsonl", [new])
    add(base, folder)
    assert folds(base) == []
    assert len(shown(base)) == 3
    (folder / "b.jsonl").unlink()
    add(base, folder)
    assert sorted(map(set, folds(base))) == [{"a", "b"}]


def test_more_than_a_crowd_of_look_alikes_are_all_kept_and_equal_ones_still_folded(base, folder):
    texts = [FEES * 6 + f"The number is {i}." for i in range(3 * CROWD)]
    documents = [{"id": f"{i}", "text": text} for i, text in enumerate([*texts, *texts])]
    write_rows(folder / "rows.jsonl", documents)
    add(base, folder)
    number = rows(base, "SELECT count(*), count(same_as) FROM passage")[0]
    assert set(texts) == {t for (t,) in rows(base, "SELECT text FROM document")}
    assert sum("number is" in text for text in shown(base)) == 3 * CROWD
    assert number[1] >= 3 * CROWD
    most = rows(base, "SELECT max(n) FROM (SELECT count(*) AS n FROM band GROUP BY key)")
    assert most == [(CROWD,)]

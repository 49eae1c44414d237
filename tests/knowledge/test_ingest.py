"""Adding files: only what changed costs anything, and the base is what the files are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bases import CountingEmbedder, Reader, check, passages, rows, shown, write_rows
from steelyard import __version__
from steelyard.errors import InputError
from steelyard.knowledge import ingest
from steelyard.knowledge.base import Base
from steelyard.knowledge.ingest import Added, Progress, update


@pytest.fixture
def base(tmp_path: Path):
    with Base(tmp_path / "base.db") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    place.mkdir()
    return place


def add(base: Base, *paths: Path, **options: object) -> tuple[Added, list[str], int]:
    """What was done, which files were read, and how many texts were embedded."""
    reader, embedder = Reader(), CountingEmbedder()
    done = update(base, paths, embedder, read=reader, **options)  # type: ignore[arg-type]
    check(base, embedder)
    assert done.num_embedded == embedder.num_texts
    return done, reader.read, embedder.num_texts


def ids(base: Base) -> list[str]:
    return sorted(name for (name,) in rows(base, "SELECT id FROM document"))


def test_unchanged_files_are_not_read_again(base, folder, monkeypatch):
    (folder / "a.txt").write_text("One.")
    (folder / "b.txt").write_text("Two.")
    done, read, embedded = add(base, folder)
    assert (done.num_files, done.num_unchanged, done.num_new) == (2, 0, 2)
    assert (read, embedded) == (["a.txt", "b.txt"], 2)
    monkeypatch.setattr(ingest, "_hash", None)  # nor is their content looked at
    done, read, embedded = add(base, folder)
    assert (done.num_files, done.num_unchanged, done.num_new, read, embedded) == (2, 2, 0, [], 0)


def test_a_file_that_was_only_touched_costs_a_hash_once(base, folder, monkeypatch):
    path = folder / "a.txt"
    path.write_text("One.")
    add(base, folder)
    os.utime(path, ns=(1, 1))
    assert add(base, folder)[1] == []
    monkeypatch.setattr(ingest, "_hash", None)
    assert add(base, folder)[1] == []


def test_a_changed_file_replaces_its_passages(base, folder):
    (folder / "a.txt").write_text("One.")
    (folder / "b.txt").write_text("Two.")
    add(base, folder)
    (folder / "a.txt").write_text("Three.")
    done, read, embedded = add(base, folder)
    assert (done.num_new, done.num_gone, read, embedded) == (1, 1, ["a.txt"], 1)
    assert shown(base) == ["Three.", "Two."]


def test_a_change_of_the_same_size_at_another_time_is_seen(base, folder):
    path = folder / "a.txt"
    path.write_text("One.")
    add(base, folder)
    path.write_text("Two.")
    os.utime(path, ns=(1, 1))
    add(base, folder)
    assert shown(base) == ["Two."]


def test_of_a_changed_document_only_what_changed_is_embedded_again(base, folder):
    paragraphs = [f"Paragraph {i}. " + "word " * 70 for i in range(6)]
    (folder / "a.txt").write_text("\n\n".join(paragraphs))
    assert add(base, folder)[2] == 6
    paragraphs[2] = "Another paragraph. " + "word " * 70
    (folder / "a.txt").write_text("\n\n".join(paragraphs))
    assert add(base, folder)[2] == 1
    assert sum("Another" in text for text in shown(base)) == 1


def test_of_a_file_of_many_rows_unchanged_ones_keep_their_passages_and_vectors(base, folder):
    documents = [{"id": f"d{i}", "text": f"This is document {i}."} for i in range(50)]
    write_rows(folder / "rows.jsonl", documents)
    add(base, folder)
    before = dict(rows(base, "SELECT text, number FROM passage"))
    documents[7]["text"] = "This one is new."
    del documents[30]
    documents.append({"id": "d50", "text": "This is document 50."})
    write_rows(folder / "rows.jsonl", documents)
    done, _, embedded = add(base, folder)
    assert (done.num_new, done.num_gone, embedded) == (2, 2, 2)
    after = dict(rows(base, "SELECT text, number FROM passage"))
    assert {text: after[text] for text in set(before) & set(after)} == {
        text: number
        for text, number in before.items()
        if text not in ("This is document 7.", "This is document 30.")
    }


def test_a_change_of_the_metadata_alone_is_a_change(base, folder):
    write_rows(folder / "rows.jsonl", [{"id": "d", "text": "Text.", "product": "card"}])
    add(base, folder)
    write_rows(folder / "rows.jsonl", [{"id": "d", "text": "Text.", "product": "loan"}])
    assert add(base, folder)[0].num_new == 1
    assert rows(base, "SELECT metadata FROM document") == [('{"product": "loan"}',)]


def test_a_large_file_is_written_in_several_batches_with_the_same_end(base, folder, monkeypatch):
    documents = [{"id": f"d{i}", "text": f"This is document {i}."} for i in range(50)]
    write_rows(folder / "a.jsonl", documents)
    (folder / "b.txt").write_text("Beside it.")
    monkeypatch.setattr(ingest, "BATCH_CHARACTERS", 5 * ingest.DOCUMENT_CHARACTERS)
    assert add(base, folder)[0].num_new == 51
    write_rows(folder / "a.jsonl", documents[10:])
    done = add(base, folder)[0]
    assert (done.num_new, done.num_gone) == (0, 10)
    assert len(ids(base)) == 41


def test_rows_of_one_id_are_all_kept_and_equal_ones_once(base, folder):
    texts = ["One.", "Two.", "One.", "Three."]
    for _ in range(2):
        write_rows(folder / "rows.jsonl", [{"id": "d", "text": text} for text in texts])
        add(base, folder)
        assert shown(base) == ["One.", "Three.", "Two."]
        os.utime(folder / "rows.jsonl", ns=(1, 1))
        texts.append("Two.")


def test_many_files_are_removed_page_by_page(base, folder, monkeypatch):
    monkeypatch.setattr(ingest, "PAGE_PATHS", 3)
    for i in range(10):
        (folder / f"{i}.txt").write_text(f"Text {i}.")
    add(base, folder)
    for i in (0, 2, 3, 8, 9):
        (folder / f"{i}.txt").unlink()
    assert add(base, folder)[0].num_removed_files == 5
    assert ids(base) == [f"{i}.txt" for i in (1, 4, 5, 6, 7)]


def test_removed_and_renamed_files_disappear_and_their_vectors_are_used_again(base, folder):
    (folder / "sub").mkdir()
    for name in ("a.txt", "sub/b.txt", "sub/c.txt"):
        (folder / name).write_text(f"Text of {name}.")
    add(base, folder)
    (folder / "a.txt").unlink()
    (folder / "sub").rename(folder / "other")
    done, _, embedded = add(base, folder)
    assert (done.num_removed_files, embedded) == (3, 0)
    assert ids(base) == ["other/b.txt", "other/c.txt"]
    shutil.rmtree(folder / "other")
    add(base, folder)
    assert ids(base) == []
    assert rows(base, "SELECT * FROM vector") == []
    assert rows(base, "SELECT rowid FROM words WHERE words MATCH 'text'") == []


def test_what_was_added_from_elsewhere_stays_unless_only_these_are_wanted(base, folder, tmp_path):
    (folder / "a.txt").write_text("One.")
    other = tmp_path / "docs-too.txt"  # not below "docs", though its name begins so
    other.write_text("Two.")
    add(base, other)
    add(base, folder)
    assert ids(base) == ["a.txt", "docs-too.txt"]
    add(base, folder, only=True)
    assert ids(base) == ["a.txt"]


def test_a_file_found_below_several_folders_is_named_from_the_outermost(base, folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text("One.")
    add(base, folder / "sub" / "a.txt")
    assert ids(base) == ["a.txt"]
    add(base, folder)
    assert ids(base) == ["sub/a.txt"]
    (folder / "sub" / "a.txt").write_text("Two.")
    add(base, folder / "sub")
    assert ids(base) == ["sub/a.txt"]
    assert shown(base) == ["Two."]


def test_a_path_that_is_not_there_is_said_before_anything_is_done(base, folder):
    (folder / "a.txt").write_text("One.")
    with pytest.raises(InputError, match=r"nowhere: there is no such file.*knowledge remove"):
        update(base, [folder, folder / "nowhere"], None, read=Reader())
    assert ids(base) == []


# ---------------------------------------------------------------- what cannot be read


def test_what_cannot_be_read_is_listed_and_tried_again_only_when_it_changed(base, folder):
    (folder / "a.txt").write_text("One.")
    (folder / "b.txt").write_bytes(b"\0\1\2" * 50)
    done, read, _ = add(base, folder)
    [(path, reason)] = done.unreadable
    assert (Path(path).name, "binary" in reason) == ("b.txt", True)
    assert base.unreadable() == done.unreadable
    assert ids(base) == ["a.txt"]
    done, read, _ = add(base, folder)
    assert read == []
    assert done.unreadable == [(path, reason)]
    (folder / "b.txt").write_text("Two.")
    done, read, _ = add(base, folder)
    assert (read, done.unreadable, base.unreadable()) == (["b.txt"], [], [])
    assert shown(base) == ["One.", "Two."]


def test_a_file_that_cannot_be_opened_is_tried_again_every_time(base, folder, monkeypatch):
    (folder / "a.txt").write_text("One.")
    monkeypatch.setattr(ingest, "_hash", lambda _: None)
    assert add(base, folder)[1] == ["a.txt"]
    assert add(base, folder)[1] == ["a.txt"]
    monkeypatch.undo()
    assert add(base, folder)[1] == ["a.txt"]
    assert add(base, folder)[1] == []


def test_of_a_file_that_is_half_readable_the_readable_half_is_kept(base, folder):
    (folder / "rows.jsonl").write_text('{"id": "a", "text": "One."}\n{"id": "b", "text": \n')
    done, _, _ = add(base, folder)
    assert ids(base) == ["a"]
    assert "Line 2" in done.unreadable[0][1]


def test_a_file_that_became_unreadable_is_no_longer_found_and_says_why(base, folder):
    (folder / "a.txt").write_text("One.")
    add(base, folder)
    (folder / "a.txt").write_bytes(b"\0" * 50)
    done, _, _ = add(base, folder)
    assert shown(base) == []
    assert len(done.unreadable) == 1


def test_a_reader_that_says_nothing_of_a_file_leaves_it_empty_and_known(base, folder):
    (folder / "a.txt").write_text("One.")
    update(base, [folder], None, read=lambda files: [pair for pair in files if False])
    assert ids(base) == []
    assert add(base, folder)[1] == []


def test_links_that_lead_nowhere_are_listed_and_do_not_stop_the_others(base, folder):
    (folder / "a.txt").write_text("One.")
    (folder / "b.txt").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder)
    done, _, _ = add(base, folder)
    assert sorted(Path(path).name for path, _ in done.unreadable) == ["b.txt", "loop"]
    (folder / "b.txt").unlink()
    (folder / "b.txt").write_text("Two.")
    add(base, folder)
    assert ids(base) == ["a.txt", "b.txt"]


def test_what_lies_below_a_folder_that_cannot_be_opened_is_not_taken_for_removed(
    base, folder, monkeypatch
):
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text("One.")
    add(base, folder)
    real = os.listdir

    def refuse(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", refuse)
    done, _, _ = add(base, folder)
    assert "cannot be opened" in done.unreadable[0][1]
    assert ids(base) == ["sub/a.txt"]
    monkeypatch.undo()
    assert add(base, folder)[0].unreadable == []


# ---------------------------------------------------------------- vectors, rules, progress


def test_without_an_embedder_the_vectors_come_another_time(base, folder):
    (folder / "a.txt").write_text("One.")
    update(base, [folder], None, read=Reader())
    assert rows(base, "SELECT * FROM vector") == []
    assert add(base, folder)[1:] == ([], 1)


def test_other_rules_of_cutting_cut_every_document_again(base, folder, monkeypatch):
    (folder / "a.txt").write_text("One. Two.")
    add(base, folder)
    monkeypatch.setattr(ingest, "CUTTING", ingest.CUTTING + 1)
    assert add(base, folder)[1] == ["a.txt"]
    assert add(base, folder)[1] == []


def test_another_reader_tries_again_what_could_not_be_read(base, folder, monkeypatch):
    (folder / "a.txt").write_text("One.")
    (folder / "b.txt").write_bytes(b"\0" * 50)
    add(base, folder)
    before = ingest._reader()
    assert before.startswith(f"{__version__} pypdf ")
    monkeypatch.setattr(ingest, "_reader", lambda: f"{before} kreuzberg 9")
    assert add(base, folder)[1] == ["b.txt"]
    assert add(base, folder)[1] == []


def test_progress_is_told_and_ends_at_the_total(base, folder):
    for i in range(3):
        (folder / f"{i}.txt").write_text(f"Text {i}.")
    heard: list[Progress] = []
    update(base, [folder], CountingEmbedder(), read=Reader(), listen=heard.append)
    assert {progress.stage for progress in heard} == {"reading", "embedding"}
    assert heard[-1] == Progress("embedding", 3, 3)


# ---------------------------------------------------------------- whatever happens to the files

NAMES = st.sampled_from(["a.txt", "b.txt", "sub/c.txt", "rows.jsonl", "sub/rows.jsonl"])
TEXTS = st.sampled_from(["One.", "Two.", "one", "Three words here.", "A\n\nB " * 120, "\0"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from("xyz"), "text": TEXTS},
        optional={
            "valid_from": st.sampled_from(["2020-01-01", "2022-01-01"]),
            "user": st.sampled_from("uv"),
        },
    ),
    max_size=4,
)
STEPS = st.lists(st.tuples(NAMES, st.none() | TEXTS, ROWS), max_size=4)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(STEPS, min_size=1, max_size=4))
def test_whatever_happens_to_the_files_the_base_is_as_if_they_were_added_at_once(
    runs, tmp_path_factory
):
    place = tmp_path_factory.mktemp("any")
    folder = place / "docs"
    (folder / "sub").mkdir(parents=True)
    clock = 1_000_000_000
    with Base(place / "base.db") as base, Base(place / "fresh.db") as fresh:
        for steps in runs:
            for name, text, documents in steps:
                path = folder / name
                if text is None:
                    path.unlink(missing_ok=True)
                    continue
                if path.suffix == ".jsonl":
                    write_rows(path, documents)
                else:
                    path.write_text(text)
                clock += 1_000
                os.utime(path, ns=(clock, clock))
            add(base, folder)
        add(fresh, folder)
        assert passages(base) == passages(fresh)
        assert len(shown(base)) == len(shown(fresh))
        assert base.unreadable() == fresh.unreadable()

"""Kills and crowds: whatever happens to the processes, the base ends exactly right."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from bases import CountingEmbedder, Reader, check, passages, rows, shown, write_rows
from steelyard.knowledge import base as base_module
from steelyard.knowledge import ingest
from steelyard.knowledge.base import Base
from steelyard.knowledge.ingest import update

KILLS = 20
PROCESSES = 8


@pytest.fixture(scope="module")
def server() -> Any:
    """Starts child processes quickly: they begin with our modules loaded, and with no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bases", "steelyard.knowledge.ingest"])
    return context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of which each needs several batches, some alike, one unreadable."""
    place = tmp_path / "docs"
    (place / "sub").mkdir(parents=True)
    for i in range(6):
        text = "\n\n".join(f"Paragraph {j} of text {i}. " + "word " * 60 for j in range(i + 1))
        (place / f"{i}.txt").write_text(text)
        (place / "sub" / f"copy {i}.txt").write_text(text)
    (place / "wrong.txt").write_bytes(b"\0" * 99)
    records = [{"id": f"r{i}", "text": f"Record {i}.", "user": f"u{i % 3}"} for i in range(30)]
    write_rows(place / "rows.jsonl", records)
    return place


def change(folder: Path) -> None:
    """Some of everything: new, changed, gone, renamed; another version of a record."""
    (folder / "0.txt").unlink()
    (folder / "1.txt").write_text("Now it says something else.")
    (folder / "sub" / "copy 2.txt").rename(folder / "sub" / "renamed.txt")
    (folder / "new.txt").write_text("This is new.")
    (folder / "wrong.txt").write_text("Now it is text.")
    records = [{"id": f"r{i}", "text": f"Record {i}.", "user": f"u{i % 3}"} for i in range(5, 30)]
    records += [{**records[0], "text": "Newer.", "valid_from": "2024-01-01"}]
    write_rows(folder / "rows.jsonl", records)


def add(base: Path, *paths: Path) -> None:
    with Base(base) as opened:
        update(opened, paths, CountingEmbedder(), read=Reader())


def small_batches() -> None:
    ingest.BATCH_CHARACTERS = 4 * ingest.DOCUMENT_CHARACTERS
    base_module.EMBED_PASSAGES = 7


def add_and_die(base: Path, folder: Path, after: int) -> None:
    """Adds, and is killed when it has run that many statements."""
    small_batches()
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        if done > after:
            os.kill(os.getpid(), signal.SIGKILL)

    with Base(base) as opened:
        event.listen(opened.engine, "before_cursor_execute", count)
        event.listen(opened.engine, "commit", count)
        update(opened, [folder], CountingEmbedder(), read=Reader())


def count_statements(base: Path, folder: Path) -> int:
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1

    with Base(base) as opened:
        event.listen(opened.engine, "before_cursor_execute", count)
        event.listen(opened.engine, "commit", count)
        update(opened, [folder], CountingEmbedder(), read=Reader())
    return done


def assert_same(base: Path, fresh: Path) -> None:
    with Base(base) as one, Base(fresh) as other:
        check(one, CountingEmbedder())
        assert passages(one) == passages(other)
        assert len(shown(one)) == len(shown(other))
        assert one.unreadable() == other.unreadable()
        complete = "SELECT path, name, sha256, size_bytes, modified_ns FROM source ORDER BY path"
        assert rows(one, complete) == rows(other, complete)


@pytest.mark.parametrize("changes", [False, True], ids=["first", "update"])
def test_killed_anywhere_the_next_run_ends_with_exactly_the_right_passages(
    server, folder, tmp_path, monkeypatch, changes
):
    monkeypatch.setattr(ingest, "BATCH_CHARACTERS", 4 * ingest.DOCUMENT_CHARACTERS)
    monkeypatch.setattr(base_module, "EMBED_PASSAGES", 7)
    before = tmp_path / "before.db"
    if changes:
        add(before, folder)
        change(folder)
    else:
        Base(before).close()
    shutil.copy(before, tmp_path / "counted.db")
    statements = count_statements(tmp_path / "counted.db", folder)
    fresh = tmp_path / "fresh.db"
    add(fresh, folder)
    points = random.Random(changes).sample(range(statements), KILLS // 2)
    for point in points:
        base = tmp_path / f"killed at {point}.db"
        shutil.copy(before, base)
        child = server.Process(target=add_and_die, args=(base, folder, point))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        child.close()
        add(base, folder)
        assert_same(base, fresh)


def add_together(start: Any, base: Path, paths: list[Path]) -> None:
    small_batches()
    start.wait()
    add(base, *paths)


def test_eight_processes_that_add_overlapping_folders_make_the_exact_set(server, folder, tmp_path):
    base = tmp_path / "base.db"  # which all of them find missing, and make
    asked = [[folder], [folder / "sub"], [folder / "sub", folder / "rows.jsonl"], [folder]]
    start = server.Barrier(PROCESSES)
    children = [
        server.Process(target=add_together, args=(start, base, paths))
        for paths in [*asked, *reversed(asked)]
    ]
    run(children)
    fresh = tmp_path / "fresh.db"
    add(fresh, folder)
    assert_same(base, fresh)


def run(children: list[Any]) -> None:
    """Start all, wait for all, and see that none failed."""
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
        child.close()


def remove_together(start: Any, base: Path, number: int) -> None:
    start.wait()
    with Base(base) as opened:
        for i in range(number, 30, 3):
            opened.remove_document(f"r{i}")


def test_removing_while_others_add_and_embed_loses_and_keeps_nothing_wrongly(
    server, folder, tmp_path
):
    base = tmp_path / "base.db"
    add(base, folder)
    change(folder)
    start = server.Barrier(5)
    children = [server.Process(target=remove_together, args=(start, base, i)) for i in range(3)]
    children += [
        server.Process(target=add_together, args=(start, base, [folder])) for _ in range(2)
    ]
    run(children)
    fresh = tmp_path / "fresh.db"
    add(fresh, folder)
    with Base(base) as one, Base(fresh) as other:
        one.embed(CountingEmbedder())
        check(one, CountingEmbedder())
        records = set(rows(one, "SELECT id, text FROM document WHERE user != ''"))
        assert records <= set(rows(other, "SELECT id, text FROM document WHERE user != ''"))
        rest = "SELECT id, text FROM document WHERE user = '' ORDER BY id"
        assert rows(one, rest) == rows(other, rest)

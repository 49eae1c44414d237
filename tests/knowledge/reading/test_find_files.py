"""Which files are found: all of a folder, in order, and nothing outside it."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import pytest

from steelyard.knowledge.reading import Found, Unreadable, find_files


def write(path: Path, text: str = "text") -> Path:
    for folder in (*reversed(path.parents), path.parent):  # mkdir(parents=True) recurses
        folder.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def ids(*paths: Path) -> list[str]:
    return [item.id for item in find_files(paths) if isinstance(item, Found)]


def reasons(*paths: Path) -> dict[str, str]:
    return {i.path.name: i.reason for i in find_files(paths) if isinstance(i, Unreadable)}


def test_files_come_by_name_folder_by_folder_and_name_their_root(tmp_path):
    for name in ("b.md", "a/z.txt", "a/deep/x.txt", "c.md"):
        write(tmp_path / name)
    assert ids(tmp_path) == ["a/deep/x.txt", "a/z.txt", "b.md", "c.md"]
    first = next(iter(find_files([tmp_path])))
    assert isinstance(first, Found)
    status = (tmp_path / "a/deep/x.txt").stat()
    assert (first.root, first.size_bytes) == (tmp_path, 4)
    assert first.modified_ns == status.st_mtime_ns


def test_a_file_given_itself_is_named_by_its_name(tmp_path):
    assert ids(write(tmp_path / "sub/one.md")) == ["one.md"]


def test_hidden_files_and_folders_are_skipped_unless_given(tmp_path):
    write(tmp_path / "seen.md")
    write(tmp_path / ".git/config.md")
    hidden = write(tmp_path / ".hidden.md")
    assert ids(tmp_path) == ["seen.md"]
    assert reasons(tmp_path) == {}
    assert ids(hidden) == [".hidden.md"]
    assert ids(tmp_path / ".git") == ["config.md"]


def test_a_file_given_twice_comes_once(tmp_path):
    file = write(tmp_path / "sub/a.md")
    assert ids(tmp_path, tmp_path / "sub", file, tmp_path / "sub" / ".." / "sub") == ["sub/a.md"]


def test_what_is_not_there_is_told(tmp_path):
    assert reasons(tmp_path / "no.md") == {"no.md": "there is no such file. Correct the path."}


def test_a_loop_of_links_is_told_and_not_followed(tmp_path):
    write(tmp_path / "a/file.md")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "x").symlink_to(tmp_path / "y")
    (tmp_path / "y").symlink_to(tmp_path / "x")
    assert ids(tmp_path) == ["a/file.md"]
    told = reasons(tmp_path)
    assert set(told) == {"up", "x", "y"}
    assert "a loop" in told["up"]
    assert "leads back to itself" in told["x"]


def test_links_that_leave_the_folder_are_told_and_not_followed(tmp_path):
    secret = write(tmp_path / "outside/secret.txt")
    inside = tmp_path / "inside"
    write(inside / "a.md")
    (inside / "file.txt").symlink_to(secret)
    (inside / "folder").symlink_to(secret.parent)
    (inside / "nothing").symlink_to(tmp_path / "not-there")
    assert ids(inside) == ["a.md"]
    told = reasons(inside)
    assert "leaves the folder" in told["file.txt"]
    assert "leaves the folder" in told["folder"]
    assert "link to nothing" in told["nothing"]


def test_links_inside_the_folder_lose_nothing_and_read_no_folder_twice(tmp_path):
    write(tmp_path / "real/a.md")
    write(tmp_path / ".data/b.md")
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "b.md").symlink_to(tmp_path / ".data/b.md")
    (tmp_path / "hidden").symlink_to(tmp_path / ".data")
    assert ids(tmp_path) == ["b.md", "real/a.md"]
    assert set(reasons(tmp_path)) == {"hidden"}


def test_a_folder_given_as_a_link_is_walked(tmp_path):
    write(tmp_path / "real/a.md")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert ids(tmp_path / "link") == ["a.md"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders there")
def test_a_pipe_is_told_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert "device or a pipe" in reasons(tmp_path)["pipe.txt"]


def test_a_folder_that_cannot_be_listed_is_told_and_the_others_are_walked(tmp_path, monkeypatch):
    write(tmp_path / "a/x.md")
    write(tmp_path / "b/y.md")
    listed = Path.iterdir

    def refuse(path):
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert ids(tmp_path) == ["b/y.md"]
    assert reasons(tmp_path)["a"] == (
        "the folder cannot be opened (Permission denied). Check its permissions."
    )


@pytest.mark.skipif(sys.platform != "linux", reason="names are free bytes only there")
def test_a_name_that_is_no_utf8_is_told_in_a_form_that_can_be_printed(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    (item,) = find_files([tmp_path])
    assert isinstance(item, Unreadable)
    assert item.path.name == "\ufffd.txt"
    assert "not UTF-8" in item.reason


def test_folders_nested_deeper_than_python_recurses_are_walked(tmp_path):
    deep = write(tmp_path / Path(*["d"] * 300) / "x.md")
    limit, depth = sys.getrecursionlimit(), len(inspect.stack())
    sys.setrecursionlimit(depth + 100)
    try:
        found = ids(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found == [deep.relative_to(tmp_path).as_posix()]

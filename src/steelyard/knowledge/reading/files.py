"""The files that folders hold: in sorted order, and nothing outside what was given."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from steelyard.knowledge.reading.document import Found, Unreadable


def find_files(paths: Iterable[str | Path]) -> Iterator[Found | Unreadable]:
    """Every file among the given files and below the given folders, each once.

    Folders are walked by name. Inside them hidden files and folders (a name that begins with a
    dot) are skipped; a hidden path that was given itself is taken. A link to a file inside the
    folder is read under its own name; a link to a folder inside it is not followed, because that
    folder is read where it stands. Links that leave the folder, loops, what is no regular file
    and what cannot be opened come as `Unreadable`.
    """
    seen: set[str] = set()
    for given in paths:
        top = Path(os.path.abspath(given))  # noqa: PTH100  resolve() would follow links
        walk = _walk(top) if _is_folder(top) else iter([_file(top, top.parent, given=True)])
        for item in walk:
            if str(item.path) not in seen:
                seen.add(str(item.path))
                yield item


def _walk(root: Path) -> Iterator[Found | Unreadable]:
    real_root = root.resolve()
    waiting = [root]  # a stack and not recursion: folders may be nested deeper than Python's
    while waiting:
        path = waiting.pop()
        if path != root and path.is_symlink():
            wrong = _link_problem(path, real_root)
            if wrong is not None:
                yield Unreadable(_printable(path), wrong)
                continue
            if _is_folder(path):
                continue
        elif _is_folder(path):
            try:
                below = [one for one in path.iterdir() if not one.name.startswith(".")]
            except OSError as error:
                yield Unreadable(_printable(path), _not_opened("folder", error))
                continue
            waiting += sorted(below, reverse=True)
            continue
        yield _file(path, root)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # in a folder that may be listed and not entered
        return False


def _link_problem(link: Path, real_root: Path) -> str | None:
    """Why a link found below the root is not followed, if so."""
    try:
        target = link.resolve(strict=True)
    except FileNotFoundError:
        return "it is a link to nothing. Correct or remove the link."
    except (OSError, RuntimeError):  # RuntimeError: Python's word for links in a circle
        return "it is a link that leads back to itself. Remove the link."
    if not target.is_relative_to(real_root):
        return (
            f"it is a link that leaves the folder given, to {_printable(target)}. "
            "Links are only followed inside it: give that path too."
        )
    if not target.is_dir():
        return None
    if link.parent.resolve().is_relative_to(target):
        return "it is a link to a folder that it lies in: a loop. Remove the link."
    if any(part.startswith(".") for part in target.relative_to(real_root).parts):
        return "it is a link into a hidden folder. Give that folder itself to have it read."
    return None


def _file(path: Path, root: Path, *, given: bool = False) -> Found | Unreadable:
    shown = _printable(path)
    if shown != path:
        return Unreadable(shown, "its name is not UTF-8. Rename it.")
    try:
        status = path.stat()
    except FileNotFoundError:
        remedy = "Correct the path." if given else "It went away meanwhile; read again."
        return Unreadable(path, f"there is no such file. {remedy}")
    except OSError as error:
        return Unreadable(path, _not_opened("file", error))
    if not stat.S_ISREG(status.st_mode):
        return Unreadable(path, "it is a device or a pipe. Only regular files are read.")
    return Found(path, root, status.st_size, status.st_mtime_ns)


def _not_opened(what: str, error: OSError) -> str:
    return f"the {what} cannot be opened ({error.strerror or error}). Check its permissions."


def _printable(path: Path) -> Path:
    """The path with marks for the bytes that are not UTF-8, so that it can be shown and stored."""
    return Path(os.fsencode(path).decode("utf-8", "replace"))

"""Files that clients upload to a server: taken in whole or not at all, and checked.

    bytes ─→ files/.part-… ─→ checked ─→ files/ID.suffix, then its row

A path is made from the id of a row that was found, never from what a request says.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Literal, get_args

from steelyard.errors import DataError, InputError, unknown
from steelyard.lifecycle.home import Home
from steelyard.store.files import StoredFile, new_id
from steelyard.store.sqlite import utc_now
from steelyard.training.chat_file import check_chat_file

Purpose = Literal["fine-tune", "assistants", "user_data"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
RESULTS = "fine-tune-results"  # of files that jobs write
SUFFIX = re.compile(r"\.[a-z0-9]{1,10}")
NAME_CHARACTERS = 255
PARTIAL, PREFIX = ".part-", "file-"  # of what is on its way, and of ids


def folder_of(home: Home) -> Path:
    """Where uploaded files lie."""
    folder = home.path / "files"
    folder.mkdir(exist_ok=True)
    return folder


def begin_upload(home: Home) -> Path:
    """An empty file for bytes on their way in; the caller removes it, or hands it to `keep`."""
    with tempfile.NamedTemporaryFile(dir=folder_of(home), prefix=PARTIAL, delete=False) as file:
        return Path(file.name)


def check_purpose(purpose: str) -> None:
    """Refuse a purpose that nothing here has a use for.

    Raises:
        InputError: it is one of those, or none at all.
    """
    if purpose not in PURPOSES:
        raise InputError(unknown("purpose", purpose[:40], PURPOSES))


def keep(home: Home, part: Path, *, name: str, purpose: str) -> StoredFile:
    """Check what was uploaded for its purpose, and keep it under a new id.

    Raises:
        DataError: it is empty, or a file for fine-tuning has lines that are none, by their numbers.
    """
    if not part.stat().st_size:
        raise DataError("the file is empty")
    if purpose == "fine-tune":
        check_chat_file(part)
    name = re.split(r"[/\\]", name)[-1][:NAME_CHARACTERS] or "file"
    file = StoredFile(new_id(PREFIX), name, purpose, part.stat().st_size, utc_now())
    part.rename(path_of(home, file))
    home.files.add(file)
    return file


def path_of(home: Home, file: StoredFile) -> Path:
    """Where the bytes of a file lie. Its type stays, because readers go by it."""
    suffix = Path(file.name).suffix.lower()
    return folder_of(home) / f"{file.id}{suffix if SUFFIX.fullmatch(suffix) else ''}"


def remove(home: Home, file: StoredFile) -> None:
    """Forget a file. What was learned from it, or found in it, is not this function's."""
    home.files.remove(file.id)
    path_of(home, file).unlink(missing_ok=True)


def clear_partial(home: Home) -> None:
    """Remove what was on its way in, or out, when a server was killed: bytes without a row."""
    known = {path_of(home, file) for file in home.files.all()}
    for begins in (PARTIAL, PREFIX):
        for path in folder_of(home).glob(f"{begins}*"):
            if path not in known:
                path.unlink(missing_ok=True)

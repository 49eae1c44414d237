"""Folders named by the hash of what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from steelyard.core import digest
from steelyard.errors import StoreError

MANIFEST = "manifest.json"


class Artefacts:
    """A folder of immutable artefacts; reading one checks every byte of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, folder: Path) -> str:
        """Move a folder in and return its hash. The same content twice is kept once."""
        hashes = {p.name: _hash(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST}
        name = digest(hashes)
        (folder / MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
        self.root.mkdir(parents=True, exist_ok=True)
        target = self.root / name
        if target.is_dir():
            shutil.rmtree(folder)
        else:
            os.replace(folder, target)  # noqa: PTH105  one rename: whole or not there
        return name

    def get(self, name: str) -> Path:
        """The folder of an artefact.

        Raises:
            StoreError: it is gone, or not what was put in.
        """
        folder = self.root / name
        try:
            hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            spoilt = [n for n, h in hashes.items() if _hash(folder / n) != h]
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{folder}: the artefact cannot be read ({error}); weigh the task again"
            ) from error
        if digest(hashes) != name or spoilt:
            raise StoreError(
                f"{folder}: {', '.join(spoilt) or MANIFEST} is not what was stored; "
                "delete the folder and weigh the task again"
            )
        return folder


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

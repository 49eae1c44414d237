"""Checkpoints that are whole or not there.

A checkpoint is written to a temporary folder, its files hashed into a manifest, and the folder
renamed into place: a kill at any moment leaves the previous one. A file that does not match its
hash is not used, and the checkpoint before it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from steelyard.core import Json

MANIFEST = "manifest.json"
KEPT = 2


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: Json) -> None:
    """Write the checkpoint of `step` and drop all but the newest `KEPT`."""
    target = folder / f"step-{step:08d}"
    partial = folder / f".partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial / "tensors.safetensors")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    hashes = {file.name: _hash(file) for file in sorted(partial.iterdir())}
    (partial / MANIFEST).write_text(json.dumps(hashes), encoding="utf-8")
    for file in partial.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def latest(folder: Path) -> tuple[dict[str, Tensor], Json] | None:
    """Tensors and state of the newest whole checkpoint, or None."""
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        if _whole(candidate):
            state = json.loads((candidate / "state.json").read_text(encoding="utf-8"))
            return load_file(candidate / "tensors.safetensors"), state
    return None


def _whole(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(hashes) and all(_hash(folder / n) == h for n, h in hashes.items())
    except (OSError, ValueError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

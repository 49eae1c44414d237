"""Checkpoints that are whole or not there.

A checkpoint is written to a temporary folder, its files hashed into a manifest, which is written
last, and the folder renamed into place: a kill at any moment leaves the previous one. A file that
does not match its hash is not used, and the checkpoint before it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from steelyard.core import Json
from steelyard.errors import TrainingError

MANIFEST = "manifest.json"
KEPT = 2


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: Json) -> None:
    """Write the checkpoint of `step` and drop all but the newest `KEPT`.

    Raises:
        TrainingError: it cannot be written; those before it are as they were.
    """
    for left_behind in folder.glob(".partial-*"):  # by a process that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    target = folder / f"step-{step:08d}"
    partial = folder / f".partial-{os.getpid()}"
    try:
        _write(partial, tensors, state)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        _to_disk(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        whole = [old.name for old in _newest_first(folder) if _is_whole(old)]
        kept = f"{whole[0]} is still there, and" if whole else "there is no earlier one;"
        raise TrainingError(
            f"{target}: this checkpoint could not be written ({error}); {kept} the same command "
            "goes on from it. Free some space there first"
        ) from error
    for old in _newest_first(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def latest(folder: Path) -> tuple[dict[str, Tensor], Json] | None:
    """Tensors and state of the newest whole checkpoint, or None."""
    for candidate in _newest_first(folder):
        if _is_whole(candidate):
            state = json.loads((candidate / "state.json").read_text(encoding="utf-8"))
            return load_file(candidate / "tensors.safetensors"), state
    return None


def _write(partial: Path, tensors: dict[str, Tensor], state: Json) -> None:
    partial.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial / "tensors.safetensors")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    hashes = {file.name: _hash(file) for file in sorted(partial.iterdir())}
    for name in hashes:
        _to_disk(partial / name)
    (partial / MANIFEST).write_text(json.dumps(hashes), encoding="utf-8")
    _to_disk(partial / MANIFEST)
    _to_disk(partial)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _is_whole(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(hashes) and all(_hash(folder / n) == h for n, h in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

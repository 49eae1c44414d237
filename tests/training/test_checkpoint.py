from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steelyard.errors import TrainingError
from steelyard.training import checkpoint


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoint.save(folder, step, {"a": torch.full((2,), float(step))}, {"step": step})


def latest_step(folder: Path) -> int | None:
    found = checkpoint.latest(folder)
    if found is None:
        return None
    tensors, state = found
    assert tensors["a"].tolist() == [state["step"]] * 2
    return int(state["step"])


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2).T, "b": torch.tensor(7.0)}
    state = {"step": 3, "best_loss": float("inf"), "points": [{"x": None}]}
    checkpoint.save(tmp_path, 3, tensors, state)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found[1] == state
    assert found[0].keys() == tensors.keys()
    assert all(torch.equal(found[0][key], value) for key, value in tensors.items())


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "none") is None


def test_the_newest_is_taken_and_only_two_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 2, 9, 10)
    assert latest_step(tmp_path) == 10
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000009", "step-00000010"]


DAMAGE: list[Callable[[Path], object]] = [
    lambda f: (f / "tensors.safetensors").write_bytes(b"damaged"),
    lambda f: (f / "tensors.safetensors").write_bytes(
        (f / "tensors.safetensors").read_bytes()[:-1] + b"\x01"
    ),
    lambda f: (f / "tensors.safetensors").unlink(),
    lambda f: (f / "state.json").write_text('{"step": 11}'),
    lambda f: (f / "manifest.json").unlink(),
    lambda f: (f / "manifest.json").write_text("{"),
    lambda f: (f / "manifest.json").write_text("{}"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    save(tmp_path, 9, 10)
    damage(tmp_path / "step-00000010")
    assert latest_step(tmp_path) == 9
    save(tmp_path, 10)  # and the next one takes its place
    assert latest_step(tmp_path) == 10


def test_what_a_killed_process_left_half_written_is_not_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 9)
    partial = tmp_path / ".partial-1"
    partial.mkdir()
    (partial / "tensors.safetensors").write_bytes(b"half")
    assert latest_step(tmp_path) == 9


def test_the_manifest_is_written_when_all_else_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    to_disk = checkpoint._to_disk
    write_text = Path.write_text

    def synced(path: Path) -> None:
        done.append(f"synced {path.name.partition('-')[0]}")
        to_disk(path)

    def written(path: Path, text: str, **how: str) -> int:
        done.append(f"wrote {path.name}")
        return write_text(path, text, **how)

    monkeypatch.setattr(checkpoint, "_to_disk", synced)
    monkeypatch.setattr(Path, "write_text", written)
    save(tmp_path, 1)
    assert done[:3] == ["wrote state.json", "synced state.json", "synced tensors.safetensors"]
    assert done[3:6] == ["wrote manifest.json", "synced manifest.json", "synced .partial"]


@pytest.mark.parametrize("where", ["save_file", "_to_disk"])
def test_a_full_disk_leaves_the_previous_checkpoint_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    save(tmp_path, 9)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, where, full)
        with pytest.raises(
            TrainingError, match=r"step-00000010: .* No space left .* step-00000009 is still there"
        ):
            save(tmp_path, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000009"]
    assert latest_step(tmp_path) == 9
    save(tmp_path, 10)
    assert latest_step(tmp_path) == 10


def test_what_killed_processes_left_is_cleared_by_the_next_save(tmp_path: Path) -> None:
    for pid in (1, 2):
        (tmp_path / f".partial-{pid}").mkdir()
    save(tmp_path, 9)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000009"]

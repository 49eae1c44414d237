"""Texts that the base writes to be read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steelyard.models import lora
from steelyard.training import replay
from steelyard.training.batches import Encoded
from tiny import open_in_float32


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "TEXT_TOKENS", 12)


def test_texts_begin_and_end_as_texts_do_and_no_two_are_one(tiny: Any, tmp_path: Path) -> None:
    texts = replay.write(tiny, 20, seed=0, file=tmp_path / "replay.json")
    end = tiny.renderer.document_ids("")[0]
    assert len(texts) == 20
    assert all(text.prompt == [end] for text in texts)
    assert len({text.target[0] for text in texts}) == 20
    assert all(1 <= len(text.target) <= 12 for text in texts)
    assert all(len(text.target) == 12 or text.target[-1] == end for text in texts)


def test_the_same_seed_writes_the_same_and_what_is_written_is_not_written_again(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replay.write(tiny, 5, seed=0, file=tmp_path / "a.json")
    assert replay.write(tiny, 5, seed=0, file=tmp_path / "b.json") == first
    assert replay.write(tiny, 5, seed=1, file=tmp_path / "c.json") != first
    monkeypatch.setattr(replay, "_written", lambda *_: pytest.fail("written again"))
    assert replay.write(tiny, 5, seed=0, file=tmp_path / "a.json") == first


def test_it_is_the_base_that_writes_whatever_is_being_trained(
    tiny_folder: Path, tmp_path: Path
) -> None:
    backend = open_in_float32(tiny_folder)
    bare = replay.write(backend, 5, seed=0, file=tmp_path / "a.json")
    model = backend.loaded.decoder.model
    lora.add(model, "x", rank=4, alpha=8, seed=0)
    state = {name: tensor + 0.3 for name, tensor in lora.tensors(model, "x").items()}
    lora.assign(model, "x", state)
    assert replay.write(backend, 5, seed=0, file=tmp_path / "b.json") == bare


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.01, 1), (0.25, 8), (0.5, 25)])
def test_the_share_is_of_all_tokens(share: float, expected: int) -> None:
    read = [Encoded([0], [1] * 100)] * 3  # 300 tokens; a text has 12
    assert replay.num_texts(share, read) == expected


def test_no_share_needs_no_model(tmp_path: Path) -> None:
    nobody: Any = None
    assert replay.write(nobody, 0, seed=0, file=tmp_path / "none.json") == []

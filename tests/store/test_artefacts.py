"""Folders named by their content: kept once, and read only when every byte is as it was."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import StoreError
from steelyard.store import Artefacts
from steelyard.store.artefacts import MANIFEST


@pytest.fixture
def artefacts(tmp_path: Path) -> Artefacts:
    return Artefacts(tmp_path / "artefacts")


def folder(tmp_path: Path, name: str = "made", **files: str) -> Path:
    path = tmp_path / name
    path.mkdir()
    for file, content in files.items():
        (path / file).write_text(content, encoding="utf-8")
    return path


def test_what_was_put_in_comes_back_and_the_folder_is_gone(artefacts, tmp_path):
    made = folder(tmp_path, weights="1 2 3", curve="[]")
    name = artefacts.put(made)
    assert not made.exists()
    found = artefacts.get(name)
    assert found.parent == artefacts.root
    assert (found / "weights").read_text(encoding="utf-8") == "1 2 3"
    assert sorted(p.name for p in found.iterdir()) == ["curve", MANIFEST, "weights"]


def test_the_same_content_is_kept_once_and_another_apart(artefacts, tmp_path):
    names = [artefacts.put(folder(tmp_path, f"made{n}", a="x", b="y")) for n in range(2)]
    other = artefacts.put(folder(tmp_path, "made2", a="y", b="x"))
    renamed = artefacts.put(folder(tmp_path, "made3", a="x", c="y"))
    assert names[0] == names[1]
    assert len({names[0], other, renamed}) == 3
    assert len(list(artefacts.root.iterdir())) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["artefacts"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "weights").write_text("1 2 4"), "weights is not what was stored"),
        (lambda f: (f / "weights").write_text(""), "weights is not what was stored"),
        (lambda f: (f / "weights").unlink(), "cannot be read"),
        (lambda f: (f / MANIFEST).unlink(), "cannot be read"),
        (lambda f: (f / MANIFEST).write_text("{"), "cannot be read"),
        (lambda f: (f / MANIFEST).write_text("{}"), "manifest.json is not what was stored"),
        (
            lambda f: (f / MANIFEST).write_text(json.dumps({"weights": "0"})),
            "weights is not what was stored",
        ),
    ],
)
def test_a_spoilt_artefact_is_refused_with_a_remedy(artefacts, tmp_path, spoil, said):
    name = artefacts.put(folder(tmp_path, weights="1 2 3"))
    spoil(artefacts.root / name)
    with pytest.raises(StoreError) as caught:
        artefacts.get(name)
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert "weigh the task again" in str(caught.value)


def test_an_artefact_under_another_name_is_refused(artefacts, tmp_path):
    name = artefacts.put(folder(tmp_path, weights="1 2 3"))
    (artefacts.root / name).rename(artefacts.root / ("0" * 64))
    with pytest.raises(StoreError):
        artefacts.get("0" * 64)
    with pytest.raises(StoreError, match="cannot be read"):
        artefacts.get(name)


@given(st.dictionaries(st.sampled_from("abcd"), st.text("xyz\n", max_size=9), min_size=1))
def test_any_content_comes_back(files):
    with tempfile.TemporaryDirectory() as place:
        artefacts = Artefacts(Path(place) / "artefacts")
        found = artefacts.get(artefacts.put(folder(Path(place), **files)))
        read = {p.name: p.read_text(encoding="utf-8") for p in found.iterdir()}
        assert {k: v for k, v in read.items() if k != MANIFEST} == files

"""Vector search finds what a plain loop finds, by a graph too, inside any scope."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.knowledge import neighbours, vectors
from steelyard.knowledge.neighbours import build, forget, load, row_hashes
from steelyard.knowledge.vectors import Vectors


def some_vectors(count: int, seed: int = 0, width: int = 16) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def of(matrix: np.ndarray) -> Vectors:
    numbers = np.arange(1, len(matrix) + 1, dtype=np.int64)
    return Vectors(numbers, np.arange(len(matrix)), matrix)


def plain(matrix: np.ndarray, query: np.ndarray, k: int, mask: np.ndarray | None) -> list[int]:
    cosines = [round(float(row.astype(np.float32) @ query), 5) for row in matrix]
    allowed = [i for i in range(len(matrix)) if mask is None or mask[i]]
    return sorted(allowed, key=lambda i: (-cosines[i], i))[:k]


@settings(max_examples=60)
@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 10**6), st.booleans())
def test_exact_search_is_a_full_sort_of_what_is_in_the_mask(count, k, seed, masked):
    matrix = some_vectors(count, seed)
    mask = np.random.default_rng(seed).random(count) < 0.5 if masked else None
    query = some_vectors(1, seed + 1)[0].astype(np.float32)
    found = of(matrix).search(query, k, mask)
    assert [place for place, _ in found] == plain(matrix, query, k, mask)
    for place, cosine in found:
        assert cosine == pytest.approx(float(matrix[place].astype(np.float32) @ query), abs=1e-6)


def test_a_large_matrix_is_searched_in_blocks(monkeypatch):
    matrix, query = some_vectors(100), some_vectors(1, 1)[0].astype(np.float32)
    whole = of(matrix).search(query, 7, None)
    monkeypatch.setattr(vectors, "EXACT_PASSAGES", 10)
    monkeypatch.setattr(vectors, "BLOCK_PASSAGES", 9)
    assert of(matrix).search(query, 7, None) == whole
    mask = np.arange(100) % 3 == 0
    found = [place for place, _ in of(matrix).search(query, 7, mask)]
    assert found == plain(matrix, query, 7, mask)


def test_a_passage_without_a_vector_is_not_found_and_places_stay_right():
    matrix = some_vectors(3)
    held = Vectors(np.array([4, 6, 9]), np.array([1, 3, 4]), matrix)
    found = held.search(matrix[1].astype(np.float32), 5, None)
    assert found[0][0] == 3
    assert {place for place, _ in found} == {1, 3, 4}
    assert [p for p, _ in held.search(matrix[0].astype(np.float32), 5, np.arange(5) >= 3)] == [3, 4]


# ---------------------------------------------------------------- the graph


@pytest.fixture
def small(monkeypatch):
    """What is large is small here."""
    monkeypatch.setattr(vectors, "EXACT_PASSAGES", 0)
    monkeypatch.setattr(vectors, "SCOPED_PASSAGES", 0)


def test_a_graph_is_made_measured_stored_and_found_again(tmp_path: Path):
    matrix = some_vectors(400)
    numbers = np.arange(400, dtype=np.int64)
    made = build(tmp_path / "b", numbers, matrix)
    assert made.recall >= 0.97
    again = load(tmp_path / "b", numbers, matrix)
    assert again is not None
    assert (again.recall, again.sha256) == (made.recall, made.sha256)
    assert len(again.missing) == 0
    query = matrix[7].astype(np.float32)
    assert 7 in again.search(query, 5)
    assert sorted(again.search(query, 400)) == list(range(400))
    [folder] = (tmp_path / "b.graphs").iterdir()
    about = json.loads((folder / "about.json").read_text())
    assert about["recall"] == made.recall
    assert about["expansion"] in neighbours.EXPANSIONS


def test_the_same_vectors_give_the_same_graph_and_others_another(tmp_path: Path):
    numbers = np.arange(200, dtype=np.int64)
    names = set()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sha256 = build(tmp_path / name, numbers, some_vectors(200, seed)).sha256
        [folder] = (tmp_path / f"{name}.graphs").iterdir()
        names.add((folder.name, sha256))
    assert len(names) == 2


def test_what_went_is_skipped_and_what_came_is_missing_until_the_graph_is_made_anew(tmp_path: Path):
    matrix, numbers = some_vectors(300), np.arange(300, dtype=np.int64)
    build(tmp_path / "b", numbers[:250], matrix[:250])
    graph = load(tmp_path / "b", numbers[20:], matrix[20:])
    assert graph is not None
    assert graph.missing.tolist() == list(range(230, 280))
    found = graph.search(matrix[3].astype(np.float32), 230)  # its own vector went
    assert set(found) <= set(range(230))
    assert len(found) > 220
    grown = build(tmp_path / "b", numbers[20:], matrix[20:])
    assert len(grown.missing) == 0
    assert len(set(grown.search(matrix[40].astype(np.float32), 280)) & set(range(280))) > 270
    assert len(list((tmp_path / "b.graphs").iterdir())) == 1


def test_a_graph_of_which_too_much_went_is_not_searched_and_not_grown(tmp_path: Path, monkeypatch):
    matrix, numbers = some_vectors(100), np.arange(100, dtype=np.int64)
    build(tmp_path / "b", numbers, matrix)
    assert load(tmp_path / "b", numbers[50:], matrix[50:]) is None
    anew = build(tmp_path / "b", numbers[50:], matrix[50:])
    assert len(anew.row_of) == 50
    monkeypatch.setattr(neighbours, "MISSING", 3)
    assert load(tmp_path / "b", numbers[46:], matrix[46:]) is None


def test_a_passage_of_another_text_under_the_same_number_is_another(tmp_path: Path):
    numbers = np.arange(100, dtype=np.int64)
    build(tmp_path / "b", numbers, some_vectors(100))
    assert load(tmp_path / "b", numbers, some_vectors(100, seed=1)) is None
    assert len(set(row_hashes(numbers, np.repeat(some_vectors(1), 100, axis=0)))) == 100


@pytest.mark.parametrize("file", ["graph.usearch", "rows.npy", "about.json"])
@pytest.mark.parametrize("damage", [b"", b"damaged", None])
def test_a_damaged_graph_is_none(tmp_path: Path, file: str, damage: bytes | None):
    matrix, numbers = some_vectors(50), np.arange(50, dtype=np.int64)
    build(tmp_path / "b", numbers, matrix)
    [folder] = (tmp_path / "b.graphs").iterdir()
    if damage is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(damage)
    assert load(tmp_path / "b", numbers, matrix) is None
    assert build(tmp_path / "b", numbers, matrix).recall > 0.9
    assert load(tmp_path / "b", numbers, matrix) is not None


def test_graphs_can_be_forgotten(tmp_path: Path):
    build(tmp_path / "b", np.arange(9, dtype=np.int64), some_vectors(9))
    forget(tmp_path / "b")
    forget(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 80),
    share=st.sampled_from([0.02, 0.3, 1.0]),
    newer=st.integers(0, 20),
)
def test_a_graph_never_leaves_the_scope_and_never_finds_fewer_than_there_are(
    tmp_path_factory, seed, k, share, newer
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "EXACT_PASSAGES", 0)
        patch.setattr(vectors, "SCOPED_PASSAGES", 0)
        base = tmp_path_factory.mktemp("graph") / "b"
        matrix, numbers = some_vectors(150, seed), np.arange(150, dtype=np.int64)
        build(base, numbers[: 150 - newer], matrix[: 150 - newer])
        held = of(matrix)
        held.numbers = numbers
        held.graph = load(base, numbers, matrix)
        assert held.graph is not None
        mask = np.random.default_rng(seed).random(150) < share
        query = some_vectors(1, seed + 1)[0].astype(np.float32)
        found = [place for place, _ in held.search(query, k, mask)]
        assert mask[found].all()
        assert len(set(found)) == len(found) == min(k, int(mask.sum()))
        expected = plain(matrix, query, k, mask)
        assert len(set(found) & set(expected)) >= 0.9 * len(expected)


def test_the_graph_is_asked_only_for_what_is_too_much(tmp_path, monkeypatch, small):
    matrix, numbers = some_vectors(60), np.arange(1, 61, dtype=np.int64)
    held = of(matrix)
    held.graph = build(tmp_path / "b", numbers, matrix)
    asked = []
    search = neighbours.Neighbours.search
    monkeypatch.setattr(
        neighbours.Neighbours, "search", lambda *a: asked.append(a[2]) or search(*a)
    )
    query = matrix[0].astype(np.float32)
    held.search(query, 4, None)
    assert asked == [7]
    monkeypatch.setattr(vectors, "SCOPED_PASSAGES", 30)
    held.search(query, 4, np.arange(60) < 30)
    assert asked == [7]
    held.search(query, 4, np.arange(60) < 40)
    assert asked == [7, 10]
    monkeypatch.setattr(vectors, "MOST_FROM_GRAPH", 5)
    assert len(held.search(query, 4, None)) == 4
    assert asked == [7, 10]

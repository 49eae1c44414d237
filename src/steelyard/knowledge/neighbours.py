"""A graph of neighbours (HNSW, by usearch) in a derived file, for what is too much to look through.

    base.sqlite.graphs/<hash of the vectors and settings>/
        graph.usearch     the graph
        rows.npy          the hash of each vector that it holds, in the graph's order
        about.json        the graph's hash, its recall against exact search, its settings

Everything in it can be made again. It need not be of the present state: vectors that went are
skipped, new ones are `missing` and searched exactly, until so many are that it is made anew.
Source: Malkov & Yashunin 2016, arXiv:1603.09320.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from steelyard.core import digest

CONNECTIVITY, EXPANSION_ADD = 16, 128  # Source: usearch's defaults
EXPANSIONS = (64, 128, 256, 512)  # candidates of a search: the fewest of these that reach
RECALL = 0.97  # of the ten nearest. Source: ours
SAMPLE = 200  # vectors whose neighbours are looked up to measure it
MISSING = 10_000  # new vectors that are searched beside the graph, in 4 ms. Source: ours
STALE = 0.2  # share of vectors that went, above which the graph is made anew. Source: ours
BLOCK = 16_384  # vectors that are looked at together
VERSION = 1

Listen = Callable[[int, int], None]  # hears how many are done, of how many


def unheard(_done: int, _total: int) -> None:
    """Listens to nothing."""


@dataclass(frozen=True)
class Neighbours:
    """A graph over the rows of a matrix: `row_of` names the row of each of its vectors, −1 for
    one that went; `missing` are the rows that it does not hold."""

    graph: Any
    row_of: NDArray[np.int64]
    missing: NDArray[np.int64]
    recall: float
    sha256: str

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """About the k rows nearest to a query, in no order."""
        gone = int((self.row_of < 0).mean() * k) + 1 if len(self.row_of) else 0
        keys = self.graph.search(query, min(k + gone, len(self.row_of)), threads=1).keys
        rows: NDArray[np.int64] = self.row_of[keys.astype(np.int64)]
        return rows[rows >= 0]


def folder_of(base: Path) -> Path:
    """Where the graphs of a base are kept."""
    return base.with_name(f"{base.name}.graphs")


def forget(base: Path) -> None:
    """Delete the graphs of a base, and with them every vector in them."""
    shutil.rmtree(folder_of(base), ignore_errors=True)


def row_hashes(numbers: NDArray[np.int64], matrix: NDArray[np.float16]) -> NDArray[np.uint64]:
    """A number for each vector and the passage that it belongs to.

    Shapes: numbers [P], matrix [P, D] → [P].
    """
    random = np.random.default_rng(VERSION)
    factors = random.integers(1, 2**63, size=matrix.shape[1] + 1, dtype=np.uint64)
    sums = numbers.astype(np.uint64) * factors[-1]
    for start in range(0, len(matrix), BLOCK):
        bits = matrix[start : start + BLOCK].view(np.uint16).astype(np.uint64)
        sums[start : start + BLOCK] += (bits * factors[:-1]).sum(axis=1)  # modulo 2⁶⁴
    found: NDArray[np.uint64] = sums
    return found


def load(base: Path, numbers: NDArray[np.int64], matrix: NDArray[np.float16]) -> Neighbours | None:
    """The graph that fits these vectors best, if one fits well enough to be searched."""
    found = _latest(base)
    if found is None:
        return None
    folder, about = found
    held = np.load(folder / "rows.npy", allow_pickle=False)
    row_of, missing = _match(held, row_hashes(numbers, matrix))
    if len(missing) > MISSING or (row_of < 0).mean() > STALE:
        return None
    graph = _graph(matrix.shape[1], about["expansion"])
    graph.view(folder / "graph.usearch")
    return Neighbours(graph, row_of, missing, about["recall"], about["sha256"])


def build(
    base: Path,
    numbers: NDArray[np.int64],
    matrix: NDArray[np.float16],
    listen: Listen = unheard,
) -> Neighbours:
    """Make the graph of these vectors, from the one that is there if most of it still holds.

    It is made by one thread, so that the same vectors give the same graph.
    """
    hashes = row_hashes(numbers, matrix)
    name = digest(
        [VERSION, CONNECTIVITY, EXPANSION_ADD, hashlib.sha256(hashes.tobytes()).hexdigest()]
    )[:32]
    held, graph = np.zeros(0, np.uint64), _graph(matrix.shape[1], EXPANSIONS[0])
    if (found := _latest(base)) is not None:
        rows = np.load(found[0] / "rows.npy", allow_pickle=False)
        if (_match(rows, hashes)[0] < 0).mean() <= STALE:
            held = rows
            graph.load(found[0] / "graph.usearch")
    row_of, missing = _match(held, hashes)
    for start in range(0, len(missing), MISSING):
        rows = missing[start : start + MISSING]
        keys = np.arange(len(held), len(held) + len(rows), dtype=np.uint64)
        graph.add(keys, matrix[rows], threads=1)
        held, row_of = np.append(held, hashes[rows]), np.append(row_of, rows)
        listen(start + len(rows), len(missing))
    whole = Neighbours(graph, row_of, missing[:0], 0.0, "")
    expansion, recall = _measured(whole, matrix)
    return _save(base, name, held, whole, {"expansion": expansion, "recall": recall})


def _graph(width: int, expansion: int) -> Any:
    return Index(
        ndim=width,
        metric="ip",  # of vectors of length 1: the cosine
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=expansion,
        enable_key_lookups=False,
    )


def _match(
    held: NDArray[np.uint64], present: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The present row of each held hash, −1 for none; and the present rows that are not held.

    >>> a, b = _match(np.array([7, 9], np.uint64), np.array([5, 7], np.uint64))
    >>> a.tolist(), b.tolist()
    ([1, -1], [0])
    """
    order = np.argsort(present)
    places = np.searchsorted(present, held, sorter=order)
    places[places == len(present)] = 0
    rows = order[places] if len(present) else np.zeros(len(held), np.int64)
    same = present[rows] == held if len(present) else np.zeros(len(held), np.bool_)
    row_of = np.where(same, rows, -1)
    missing = np.ones(len(present), np.bool_)
    missing[row_of[same]] = False
    return row_of, np.flatnonzero(missing)


def _measured(whole: Neighbours, matrix: NDArray[np.float16]) -> tuple[int, float]:
    """The fewest candidates that find RECALL of the ten nearest of some vectors; what they find.

    A vector itself does not count among its neighbours.
    """
    sample = np.random.default_rng(0).permutation(len(matrix))[:SAMPLE]
    queries = matrix[sample].astype(np.float32)
    cosines = np.concatenate(
        [
            matrix[start : start + BLOCK].astype(np.float32) @ queries.T
            for start in range(0, len(matrix), BLOCK)
        ]
    )
    cosines[sample, np.arange(len(sample))] = -np.inf
    k = min(10, len(matrix) - 1)
    # One of equal cosine is as near as the one that exact search happens to name.
    cuts = np.partition(cosines, len(matrix) - k, axis=0)[len(matrix) - k] if k else None
    expansion, recall = EXPANSIONS[0], 1.0
    for expansion in EXPANSIONS:
        whole.graph.expansion_search = expansion
        hits = []
        for column, (row, query) in enumerate(zip(sample, queries, strict=True)):
            found = whole.search(query, k + 1)
            found = found[found != row]
            if cuts is not None:
                near = cosines[found, column] >= cuts[column] - 1e-3
                hits.append(min(1.0, near.sum() / k))
        recall = float(np.mean(hits)) if hits else 1.0
        if recall >= RECALL:
            break
    return expansion, recall


def _save(
    base: Path, name: str, held: NDArray[np.uint64], whole: Neighbours, about: dict[str, Any]
) -> Neighbours:
    """Put a graph where `load` finds it, whole or not at all, and delete the others."""
    place = folder_of(base)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".") as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        whole.graph.save(folder / "graph.usearch")
        np.save(folder / "rows.npy", held, allow_pickle=False)
        sha256 = _sha256(folder / "graph.usearch")
        about = {"version": VERSION, "sha256": sha256, "rows": len(held), **about}
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
        if (place / name).exists():
            shutil.rmtree(place / name)
        os.replace(folder, place / name)  # noqa: PTH105  one rename: whole or not there
    for other in place.iterdir():
        if other.name != name and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
    return Neighbours(whole.graph, whole.row_of, whole.missing, about["recall"], sha256)


def _latest(base: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest graph that is as it was written."""
    place = folder_of(base)
    folders = [f for f in place.glob("*/about.json") if not f.parent.name.startswith(".")]
    for file in sorted(folders, key=lambda f: f.stat().st_mtime, reverse=True):
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            rows = np.load(file.parent / "rows.npy", allow_pickle=False)
            whole = (
                about["version"] == VERSION
                and len(rows) == about["rows"]
                and _sha256(file.parent / "graph.usearch") == about["sha256"]
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            continue
        if whole:
            return file.parent, about
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

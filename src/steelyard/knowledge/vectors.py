"""Vector search: exact cosine in blocks, and a graph of neighbours where that takes too long."""

from __future__ import annotations

import sqlite3

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import StoreError
from steelyard.knowledge.neighbours import Neighbours
from steelyard.knowledge.ranking import best

EXACT_PASSAGES = 50_000  # of 384 numbers are searched in 6 ms; above, by a graph. Source: ours
# A scope of so few is searched exactly also in a large base: looking up rows apart is slower.
SCOPED_PASSAGES = 10_000  # Source: ours
MORE = 1.5  # how many more are taken from the graph than its share of the scope asks. Source: ours
MOST_FROM_GRAPH = 2000  # asking for more takes longer than exactly. Source: ours
BLOCK_PASSAGES = 16_384
FETCHED = 10_000

Mask = NDArray[np.bool_] | None


class Vectors:
    """The vectors of one state of a base.

    `places` are indices into the passages that may be found, one for each row of `matrix`.

    `numbers` are those of the rows' passages. With a `graph`, what is too much to be searched
    exactly is searched by it.

    Shapes: matrix [P, D], float16; it is multiplied in float32.
    """

    def __init__(
        self, numbers: NDArray[np.int64], places: NDArray[np.int64], matrix: NDArray[np.float16]
    ) -> None:
        self.numbers = numbers
        self._places, self.matrix = places, matrix
        small = len(matrix) <= EXACT_PASSAGES
        self._whole = matrix.astype(np.float32) if small else None
        self.graph: Neighbours | None = None

    def search(self, query: NDArray[np.float32], k: int, mask: Mask) -> list[tuple[int, float]]:
        """The k places nearest to a query, each with its cosine, the nearest first.

        `mask` says which places may be found; None: all.

        Shapes: query [D]; mask over the passages that may be found.
        """
        visible = None if mask is None else mask[self._places]
        num_rows = len(self.matrix) if visible is None else int(visible.sum())
        if num_rows == 0 or k <= 0:
            return []
        if self.graph is not None and num_rows > SCOPED_PASSAGES:
            rows = self._by_graph(self.graph, query, k, visible)
            if rows is not None:
                return self._exactly(query, k, rows)
        return self._exactly(query, k, None if visible is None else np.flatnonzero(visible))

    def _by_graph(
        self, graph: Neighbours, query: NDArray[np.float32], k: int, visible: Mask
    ) -> NDArray[np.int64] | None:
        """Rows that hold the k nearest; None where the graph does not find enough that are visible.

        Shapes: visible [P].
        """
        num_rows = len(self.matrix) if visible is None else int(visible.sum())
        wanted = int(MORE * k * len(self.matrix) / num_rows) + 1
        if wanted > MOST_FROM_GRAPH:
            return None
        near, fresh = graph.search(query, wanted), graph.missing
        if visible is not None:
            near, fresh = near[visible[near]], fresh[visible[fresh]]
        enough = len(near) >= min(k, num_rows - len(fresh))
        return np.union1d(near, fresh) if enough else None

    def _exactly(
        self, query: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None
    ) -> list[tuple[int, float]]:
        cosines = self._cosines(query, rows)
        order = best(cosines, k)
        chosen = order if rows is None else rows[order]
        places = self._places[chosen]
        return list(zip(places.tolist(), cosines[order].tolist(), strict=True))

    def _cosines(
        self, query: NDArray[np.float32], rows: NDArray[np.int64] | None
    ) -> NDArray[np.float32]:
        if self._whole is not None:
            return (self._whole if rows is None else self._whole[rows]) @ query
        count = len(self.matrix) if rows is None else len(rows)
        found = np.empty(count, dtype=np.float32)
        for start in range(0, count, BLOCK_PASSAGES):
            end = min(start + BLOCK_PASSAGES, count)
            block = self.matrix[start:end] if rows is None else self.matrix[rows[start:end]]
            found[start:end] = block.astype(np.float32) @ query
        return found


def read_vectors(
    connection: sqlite3.Connection, numbers: NDArray[np.int64], embedder: str
) -> Vectors:
    """The vectors that this embedder made of the passages `numbers`, in their order.

    Raises:
        StoreError: they are not all of one length.
    """
    cursor = connection.execute(
        "SELECT passage, value FROM vector WHERE embedder = ? ORDER BY passage", (embedder,)
    )
    width: int | None = None
    ids: list[int] = []
    blocks: list[NDArray[np.float16]] = []
    while rows := cursor.fetchmany(FETCHED):
        width = width or len(rows[0][1])
        odd = [number for number, value in rows if len(value) != width]
        if odd:
            raise StoreError(
                f"the vector of passage {odd[0]} has another length than those before it "
                f"({width} bytes); remove the documents and add them again"
            )
        ids += [number for number, _ in rows]
        blocks.append(np.frombuffer(b"".join(value for _, value in rows), dtype=np.float16))
    flat = np.concatenate(blocks or [np.zeros(0, np.float16)])
    matrix = flat.reshape(len(ids), (width or 0) // 2)
    own = np.array(ids, dtype=np.int64)
    if not len(numbers) or not len(own):
        return Vectors(own[:0], own[:0], matrix[:0])
    places = np.searchsorted(numbers, own)
    places[places == len(numbers)] = 0
    found = numbers[places] == own
    if not found.all():
        own, places, matrix = own[found], places[found], matrix[found]
    return Vectors(own, places, matrix)

"""The nearest examples: the same ones every time, the nearest last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from fake_tasks import example
from steelyard.knowledge.nearest import NearestExamples
from steelyard.models.fake import FakeEmbedder


class Angles:
    """Embeds a text that is a number of degrees."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        radians = np.radians([float(text) for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def near(pool: Sequence[str], asked: str, k: int) -> list[str]:
    examples = [example(f"e{n}", text) for n, text in enumerate(pool)]
    [found] = NearestExamples(examples, Angles()).nearest([asked], k)
    return [shot.id for shot in found]


def test_the_nearest_stands_last_next_to_the_question():
    assert near(["0", "90", "40", "180"], "10", 3) == ["e1", "e2", "e0"]


def test_of_equally_near_ones_the_earlier_is_taken_and_is_nearest():
    assert near(["30", "0", "0", "0"], "0", 2) == ["e2", "e1"]
    assert near(["-20", "20"], "0", 1) == ["e0"]


def test_differences_of_rounding_do_not_decide():
    assert near(["20.00001", "20"], "0", 1) == ["e0"]


def test_a_pool_smaller_than_k_is_shown_whole():
    assert near(["0", "90"], "80", 5) == ["e0", "e1"]


def test_no_inputs_have_no_examples_and_k_of_none_is_none():
    pool = NearestExamples([example("e0", "0")], Angles())
    assert pool.nearest([], 3) == []
    assert pool.nearest(["1", "2"], 0) == [[], []]


def test_shared_words_are_near():
    pool = [example("a", "red apple pie"), example("b", "blue sky"), example("c", "green leaf")]
    [found] = NearestExamples(pool, FakeEmbedder()).nearest(["an apple pie"], 1)
    assert [shot.id for shot in found] == ["a"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 90), min_size=1, max_size=20, unique=True),
    st.integers(0, 90),
    st.integers(1, 8),
)
def test_the_nearest_agree_with_an_independent_search(pool, asked, k):
    k = min(k, len(pool))
    search = NearestNeighbors(n_neighbors=k, metric="cosine").fit(
        Angles().embed(list(map(str, pool)))
    )
    distances, _ = search.kneighbors(Angles().embed([str(asked)]))
    found = near([str(angle) for angle in pool], str(asked), k)
    angles = [pool[int(name[1:])] for name in reversed(found)]
    ours = [1 - np.cos(np.radians(angle - asked)) for angle in angles]
    assert ours == pytest.approx(distances[0], abs=1e-4)

"""The k best, and one ranking of several."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.knowledge.ranking import best, fuse

scores = st.lists(
    st.one_of(st.integers(-5, 5).map(float), st.just(-np.inf)), min_size=0, max_size=40
)


@given(scores, st.integers(0, 45))
def test_the_best_are_those_of_a_full_sort_and_equals_keep_their_order(values, k):
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    expected = [i for i in order if values[i] > -np.inf][:k]
    assert best(np.array(values, dtype=np.float32), k).tolist() == expected


def test_the_last_bits_of_a_score_do_not_decide():
    found = best(np.array([0.5, 0.5000001, 0.6], dtype=np.float32), 2)
    assert found.tolist() == [2, 0]


def test_ranks_are_fused_as_in_the_paper():
    found = fuse([[7, 8, 9], [9, 7]])
    assert [name for name, _ in found] == [7, 9, 8]
    assert dict(found) == pytest.approx({7: 1 / 61 + 1 / 62, 9: 1 / 63 + 1 / 61, 8: 1 / 62})


def test_nothing_fused_is_nothing_and_one_ranking_stays():
    assert fuse([]) == []
    assert fuse([[], []]) == []
    assert [name for name, _ in fuse([[3, 1, 2], []])] == [3, 1, 2]


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=3))
def test_what_all_rank_higher_is_fused_higher(rankings):
    order = [name for name, _ in fuse(rankings)]
    for a in range(6):
        for b in range(6):
            if a != b and all(r.index(a) < r.index(b) for r in rankings):
                assert order.index(a) < order.index(b)

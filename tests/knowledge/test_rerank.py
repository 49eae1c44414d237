"""Found passages in another order: the dearer judge's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.core import Passage
from steelyard.errors import ModelError
from steelyard.knowledge import rerank
from steelyard.knowledge.rerank import UNSCORED, Likelihood, MaxSim, maxsim, reorder
from steelyard.models.fake import FakeBackend, FakeEmbedder


def passages(*texts: str) -> list[Passage]:
    return [Passage(f"d{n}", 0, len(text), text) for n, text in enumerate(texts)]


def test_each_token_of_the_query_counts_its_nearest_one():
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    passage = np.array([[0.6, 0.8], [1, 0], [-1, 0]], dtype=np.float32)
    assert maxsim(query, passage) == pytest.approx((1 + 0.8) / 2)
    assert maxsim(query, passage[:0]) == maxsim(query[:0], passage) == -1


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_maxsim_is_a_plain_double_loop(seed, t, u):
    random = np.random.default_rng(seed)
    query, passage = random.standard_normal((t, 3)), random.standard_normal((u, 3))
    expected = sum(max(float(q @ p) for p in passage) for q in query) / t
    found = maxsim(query.astype(np.float32), passage.astype(np.float32))
    assert found == pytest.approx(expected, abs=1e-4)


def test_equals_keep_their_order():
    found = reorder(passages("a", "b", "c"), [0.5, 0.7, 0.5])
    assert [(p.text, p.relevance) for p in found] == [("b", 0.7), ("a", 0.5), ("c", 0.5)]


def test_maxsim_prefers_the_passage_that_holds_all_words():
    found = MaxSim(FakeEmbedder())(
        ["red cat", "dog"], [passages("a red ball", "the cat is red", "x"), passages("x", "dog")]
    )
    assert [[p.document for p in one] for one in found] == [["d1", "d0", "d2"], ["d1", "d0"]]
    assert found[0][0].relevance == pytest.approx(1)
    assert found[0][1].relevance == pytest.approx(0.5)


@pytest.mark.parametrize("rerank", [MaxSim(FakeEmbedder()), Likelihood(FakeBackend())])
def test_nothing_found_stays_nothing(rerank):
    assert rerank([], []) == []
    assert rerank(["a"], [[]]) == [[]]


def test_token_vectors_are_made_once_and_kept_within_their_bytes(monkeypatch):
    asked: list[str] = []

    class Counting(FakeEmbedder):
        def token_vectors(self, texts):
            asked.extend(texts)
            return super().token_vectors(texts)

    judge = MaxSim(Counting())
    first = judge(["a"], [passages("a b", "b", "b")])
    assert judge(["a"], [passages("a b", "b", "b")]) == first
    assert asked == ["a", "a b", "b", "a"]
    one = FakeEmbedder().token_vectors(["b"])[0].astype(np.float16).nbytes
    monkeypatch.setattr(rerank, "KEPT_BYTES", 2 * one)
    judge(["a"], [passages("c", "d e")])
    assert judge._kept_bytes == sum(kept.nbytes for kept in judge._kept.values()) <= 2 * one


def test_maxsim_says_what_it_needs():
    class Plain:
        fingerprint = "plain"

        def embed(self, texts):
            return FakeEmbedder().embed(texts)

    with pytest.raises(ModelError, match="needs the vectors of tokens"):
        MaxSim(Plain())


def test_the_likeliest_question_wins_and_what_does_not_fit_comes_last():
    backend = FakeBackend()
    texts = ["word " * 3000, "the mill was built", "who built the red mill"]
    [found] = Likelihood(backend)(["who built the mill"], [passages(*texts)])
    assert [p.document for p in found][-1] == "d0"
    assert found[-1].relevance == UNSCORED
    assert all(p.relevance > UNSCORED for p in found[:2])


def test_relevance_is_the_mean_log_probability_of_the_query(monkeypatch):
    seen = []

    def score(self, prompts, labels):
        from steelyard.models import LabelScores

        seen.append((prompts, labels))
        return [LabelScores((-4.0 * (n + 1),)) for n in range(len(prompts))]

    monkeypatch.setattr(FakeBackend, "score_labels", score)
    [found] = Likelihood(FakeBackend())(["one two three"], [passages("x", "y")])
    assert [(p.text, p.relevance) for p in found] == [("x", -1.0), ("y", -2.0)]
    [(prompts, labels)] = seen
    assert labels == ["one two three"]
    assert [prompt[-1].content for prompt in prompts] == [
        "Passage: x Please write a question based on this passage.",
        "Passage: y Please write a question based on this passage.",
    ]

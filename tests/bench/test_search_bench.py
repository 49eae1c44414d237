"""What the retrieval and search benchmarks count, and the bases that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench_scripts import load_script
from steelyard.knowledge.index import Scope
from steelyard.knowledge.search import SqliteIndex
from steelyard.models.fake import FakeEmbedder

knowledge_bases = load_script("knowledge_bases")
load_script("rounds")
retrieval = load_script("retrieval")
search = load_script("search")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [
        {
            "doc_id": f"d{d}",
            "text": " ".join(f"Sentence {d} number {n} says it." for n in range(30)),
        }
        for d in range(4)
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "corpus.jsonl"


def test_recall_is_the_share_of_the_right_documents_among_the_first(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"doc_id": "a", "title": "", "text": "x"}')
    asked = [
        {"question": "1", "gold_doc_ids": ["a"]},
        {"question": "2", "gold_doc_ids": ["a", "b"]},
        {"question": "none", "gold_doc_ids": []},
    ]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, asked)))
    questions = retrieval.Questions(tmp_path)
    assert questions.texts == ["1", "2"]
    ranks = [["c", "a"], ["b", "c"]]
    assert questions.recall(ranks, 1) == pytest.approx(0.25)
    assert questions.recall(ranks, 2) == pytest.approx(0.75)
    assert questions.recall(ranks, 2, [0]) == 1


def test_a_base_of_documents_is_searched(tmp_path: Path) -> None:
    documents = [{"doc_id": "a", "title": "Mills", "text": "Built in 1888."}]
    knowledge_bases.write(tmp_path / "b", documents, FakeEmbedder())
    for kind in ("lexical", "vector"):
        [[found]] = SqliteIndex(tmp_path / "b", FakeEmbedder()).search(["mills"], 3, kind=kind)
        assert (found.document, found.title, found.text) == ("a", "Mills", "Built in 1888.")


def test_a_large_base_is_of_sentences_whose_vectors_are_meant(tmp_path: Path, corpus: Path) -> None:
    given = knowledge_bases.sentences(corpus, FakeEmbedder(), num_sentences=70, num_asked=9)
    assert [len(own) for own in given.documents] == [30, 30, 10]
    assert given.vectors.shape[0] == 70
    held = {sentence for own in given.documents for sentence in own}
    assert len(given.asked) == 9
    assert not set(given.asked) & held
    knowledge_bases.write_large(tmp_path / "b", given, 400, FakeEmbedder().fingerprint)
    index = SqliteIndex(tmp_path / "b", FakeEmbedder())
    passages = index.passages(Scope(user="user0"))
    assert len(passages) == 400
    assert len(index.passages(Scope())) == 380
    sample = passages[123]
    [[first, *_]] = index.search([sample.text], 1, kind="vector", scopes=[Scope(user="user0")])
    assert sorted(first.text.split()) == sorted(sample.text.split())
    assert first.relevance > 0.8  # a mean of sentences is nearly the whole


def test_waits_leave_out_the_warm_up() -> None:
    asked: list[str] = []
    waits = search.waits_ms(asked.append, [str(n) for n in range(search.WARM_UP + 5)])
    assert len(asked) == search.WARM_UP + 5
    assert 0 <= waits["p50"] <= waits["p99"] <= waits["max"]


def test_fts5_is_asked_for_the_words_alone(tmp_path: Path) -> None:
    documents = [{"doc_id": "a", "title": "", "text": 'He said "NOT".'}]
    knowledge_bases.write(tmp_path / "b", documents, FakeEmbedder())
    assert search.fts5(tmp_path / "b")('"not" AND (') == [(1,)]

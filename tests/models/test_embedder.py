"""Sentence embedders: the vectors of the library, whatever stands beside a text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from steelyard.errors import ModelError
from steelyard.models import TokenEmbedder, open_embedder, opening, places
from steelyard.models.embedder import BATCH_TOKENS, SentenceEmbedder
from steelyard.models.encoder import PackedBert, Padded, batches
from steelyard.models.fake import FakeEmbedder
from tiny import some_texts, write_tokenizer

MAX_TOKENS = 256
TEXTS = [*some_texts(70, seed=1), "card " * 400, "", "fee"]  # lengths differ; one is too long


def write_bert(place: Path, **more: Any) -> Path:
    tokenizer = write_tokenizer(place)
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": 0.5,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(**{**settings, **more})).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of the same kind as MiniLM, very small."""
    return write_bert(tmp_path_factory.mktemp("bert"))


def describe(folder: Path, *, pooling: dict[str, Any], kinds: tuple[str, ...] = ()) -> None:
    """Write what sentence-transformers writes beside a model."""
    named = ["Transformer", "Pooling", *kinds]
    modules = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"st.models.{kind}"}
        for n, kind in enumerate(named)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def states_of(embedder: SentenceEmbedder, text: str) -> np.ndarray[Any, Any]:
    """The library's own hidden states of one text alone."""
    ids = embedder._tokenizer(text)["input_ids"][: embedder.max_tokens]
    with torch.inference_mode():
        states: np.ndarray[Any, Any] = (
            embedder._model(torch.tensor([ids])).last_hidden_state[0].numpy()
        )
    return states


def unit(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
    return found


def test_a_vector_is_the_mean_over_its_own_tokens_whatever_is_beside_it(folder: Path) -> None:
    embedder = SentenceEmbedder(folder)
    assert isinstance(embedder._encoder, PackedBert)
    assert sum(len(ids) for ids in embedder._tokenizer(TEXTS)["input_ids"]) > BATCH_TOKENS / 4
    for text, vector in zip(TEXTS, embedder.embed(TEXTS), strict=True):
        if text:
            expected = unit(states_of(embedder, text).mean(axis=0))
            assert vector == pytest.approx(expected, abs=1e-5)


def test_batches_change_no_vector(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = SentenceEmbedder(folder)
    whole = embedder.embed(TEXTS)
    monkeypatch.setattr("steelyard.models.embedder.BATCH_TOKENS", 40)
    assert embedder.embed(TEXTS) == pytest.approx(whole, abs=1e-5)


def test_bfloat16_points_the_same_way(folder: Path) -> None:
    exact = SentenceEmbedder(folder).embed(TEXTS)
    embedder = SentenceEmbedder(folder, torch.bfloat16)
    assert isinstance(embedder._encoder, PackedBert)
    assert embedder._encoder.layers[0].dtype == torch.bfloat16
    cosines = (embedder.embed(TEXTS) * exact).sum(axis=1)
    assert cosines[[bool(text) for text in TEXTS]].min() > 0.999


def test_no_texts_no_vectors_and_an_empty_text_has_no_direction(folder: Path) -> None:
    embedder = SentenceEmbedder(folder)
    assert embedder.embed([]).shape == (0, 32)
    assert embedder.embed([""]).tolist() == [[0.0] * 32]
    assert embedder.token_vectors([]) == []
    assert embedder.token_vectors(["", "fee"])[0].shape == (0, 32)


def test_token_vectors_are_the_states_of_the_tokens(folder: Path) -> None:
    embedder: TokenEmbedder = SentenceEmbedder(folder)
    assert isinstance(embedder, SentenceEmbedder)
    for text, vectors in zip(TEXTS[:9], embedder.token_vectors(TEXTS[:9]), strict=True):
        assert vectors == pytest.approx(unit(states_of(embedder, text)), abs=1e-5)


@pytest.mark.parametrize(
    "pooling",
    [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}],
)
def test_a_folder_says_that_the_first_token_counts(
    folder: Path, tmp_path: Path, pooling: dict[str, Any]
) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "cls"))
    describe(own, pooling=pooling, kinds=("Normalize",))
    embedder = SentenceEmbedder(own)
    for text, vector in zip(TEXTS[:9], embedder.embed(TEXTS[:9]), strict=True):
        assert vector == pytest.approx(unit(states_of(embedder, text)[0]), abs=1e-5)


def test_a_folder_says_how_many_tokens_count_and_whether_case_does(
    folder: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "short"))
    (own / "sentence_bert_config.json").write_text('{"max_seq_length": 4, "do_lower_case": true}')
    embedder = SentenceEmbedder(own)
    a, b, c = embedder.embed(["card card card card", "CARD CARD CARD CARD cash fee", "fee"])
    assert a == pytest.approx(b, abs=1e-6)
    assert a @ c < 0.999


BAD_FOLDERS = {
    "its modules.json names a Dense, which cannot be run here": {"kinds": ("Dense",)},
    "it pools by max; expected mean or cls": {"pooling": {"pooling_mode_max_tokens": True}},
    "it pools by cls and mean": {
        "pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    },
}


@pytest.mark.parametrize(("message", "change"), BAD_FOLDERS.items())
def test_what_cannot_be_run_here_is_refused(
    folder: Path, tmp_path: Path, message: str, change: dict[str, Any]
) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "bad"))
    describe(own, **{"pooling": {"pooling_mode_mean_tokens": True}, **change})
    with pytest.raises(ModelError, match=message):
        SentenceEmbedder(own)


@pytest.mark.parametrize("spoil", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_without_its_files_is_an_error(folder: Path, tmp_path: Path, spoil: str) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "bad"))
    (own / spoil).unlink()
    if spoil == "tokenizer.json":
        (own / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"bad: the embedder could not be loaded"):
        SentenceEmbedder(own)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "relu bert"])
def test_another_encoder_is_run_as_the_library_runs_it(tmp_path: Path, family: str) -> None:
    if family == "relu bert":
        write_bert(tmp_path, hidden_act="relu")
    else:
        tokenizer = write_tokenizer(tmp_path)
        config = AutoConfig.for_model(family, vocab_size=len(tokenizer), pad_token_id=1)
        config.hidden_size = config.dim = 32
        config.num_hidden_layers = config.n_layers = 1
        config.num_attention_heads = config.n_heads = 2
        config.intermediate_size = config.hidden_dim = 32
        config.max_position_embeddings = 200
        config.initializer_range = 0.5
        AutoModel.from_config(config).save_pretrained(tmp_path)
    embedder = SentenceEmbedder(tmp_path)
    assert isinstance(embedder._encoder, Padded)
    texts = ["card fee", "cash", "lost card arrival fee"]
    for text, vector in zip(texts, embedder.embed(texts), strict=True):
        expected = unit(states_of(embedder, text).mean(axis=0))
        assert vector == pytest.approx(expected, abs=1e-5)


def test_a_fingerprint_covers_what_decides_a_vector_but_not_the_place(
    folder: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "copy"))
    seen = [SentenceEmbedder(folder).fingerprint]
    assert SentenceEmbedder(own).fingerprint == seen[0]
    describe(own, pooling={"pooling_mode_cls_token": True})
    seen.append(SentenceEmbedder(own).fingerprint)
    (own / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    seen.append(SentenceEmbedder(own).fingerprint)
    write_bert(own, initializer_range=0.4)
    seen.append(SentenceEmbedder(own).fingerprint)
    assert len(set(seen)) == 4


def test_a_sentence_transformers_folder_is_opened_as_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_loaded", {})
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    own = Path(shutil.copytree(folder, tmp_path / "st"))
    describe(own, pooling={"pooling_mode_mean_tokens": True})
    found = open_embedder(str(own))
    assert isinstance(found, SentenceEmbedder)
    assert found is open_embedder(str(own))
    assert found.embed(["fee"]).shape == (1, 32)


def test_the_fake_tells_the_vectors_of_words() -> None:
    fake = FakeEmbedder()
    assert isinstance(fake, TokenEmbedder)
    red, cat = fake.token_vectors(["red", "cat red red"])
    assert red.shape[0] == 1
    assert cat.shape[0] == 2
    assert (cat @ red[0]).tolist().count(1.0) == 1


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 60))
def test_batches_hold_every_row_once_within_their_tokens(lengths: list[int], tokens: int) -> None:
    found = batches(lengths, tokens)
    rows = [row for batch in found for row in batch]
    assert sorted(rows) == list(range(len(lengths)))
    sizes = [lengths[row] for row in rows]
    assert sizes == sorted(sizes)
    for batch in found:
        assert len(batch) == 1 or sum(lengths[row] for row in batch) <= tokens


@pytest.mark.slow
def test_the_real_embedder_puts_like_beside_like() -> None:
    a, b, c = open_embedder("default").embed(
        ["I lost my card", "My bank card has gone missing", "The weather in Oslo"]
    )
    assert a @ a == pytest.approx(1, abs=1e-3)
    assert a @ b > 0.6
    assert a @ c < 0.3


@pytest.mark.slow
def test_the_real_embedder_in_bfloat16_points_the_same_way() -> None:
    folder = places.embedder_folder("default")
    texts = [" ".join(["the cat sat on a mat"] * n) + str(n) for n in range(1, 60, 4)]
    exact = SentenceEmbedder(folder).embed(texts)
    fast = SentenceEmbedder(folder, torch.bfloat16)
    assert isinstance(fast._encoder, PackedBert)
    assert (fast.embed(texts) * exact).sum(axis=1).min() > 0.999

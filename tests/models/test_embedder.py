from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from steelyard.models import open_embedder
from steelyard.models.embedder import MAX_TOKENS, MiniLM
from tiny import some_texts, write_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of the same kind as MiniLM, very small."""
    place = tmp_path_factory.mktemp("bert")
    tokenizer = write_tokenizer(place)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(place)
    return place


def test_a_vector_is_the_mean_over_its_own_tokens_whatever_is_beside_it(folder: Path) -> None:
    embedder = MiniLM(folder)
    texts = [*some_texts(70, seed=1), "card " * 400]  # more than a batch; longer than allowed
    found = embedder.embed(texts)
    for text, vector in zip(texts, found, strict=True):
        ids = embedder._tokenizer(text)["input_ids"][:MAX_TOKENS]
        with torch.inference_mode():
            mean = embedder._model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_no_texts_no_vectors(folder: Path) -> None:
    assert MiniLM(folder).embed([]).shape == (0, 16)


@pytest.mark.slow
def test_the_real_embedder_puts_like_beside_like() -> None:
    a, b, c = open_embedder("default").embed(
        ["I lost my card", "My bank card has gone missing", "The weather in Oslo"]
    )
    assert a @ a == pytest.approx(1, abs=1e-5)
    assert a @ b > 0.6
    assert a @ c < 0.3

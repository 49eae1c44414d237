"""Sentence embeddings by all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv:1908.10084)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from steelyard.core import digest

MAX_TOKENS = 256  # Source: the model's own sentence_bert_config.json
BATCH_ROWS = 64


class MiniLM:
    """Mean of the last hidden states over the tokens, scaled to length 1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights, their configuration and the tokenizer's."""
        files = sorted(f for f in self._folder.iterdir() if f.suffix in (".safetensors", ".json"))
        return digest([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shapes: N texts → [N, 384]."""
        vectors = np.zeros((len(texts), self._model.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # near lengths, less padding
        with torch.inference_mode():
            for start in range(0, len(order), BATCH_ROWS):
                rows = order[start : start + BATCH_ROWS]
                batch = self._tokenizer(
                    [texts[i] for i in rows],
                    padding=True,
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                )
                states = self._model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1)
                mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
                vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors

"""Sentence embeddings by the models of sentence-transformers (Reimers & Gurevych 2019,
arXiv:1908.10084), all-MiniLM-L6-v2 among them, as their folders describe themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from steelyard.core import Json, digest
from steelyard.errors import ModelError
from steelyard.models.encoder import batches, opened, split_rows

BATCH_TOKENS = 4096  # of one pass; 1024 to 8192 are equally fast. Source: ours, bench/retrieval.py
MODULES = ("Transformer", "Pooling", "Normalize")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")  # without one: a blank one

Pooling = Literal["mean", "cls"]


class SentenceEmbedder:
    """One vector of length 1 for a text, from the last hidden states of its tokens.

    `fingerprint` is a hash of the folder. The number type is not in it: vectors of bfloat16 and
    float32 have a cosine above 0.999, so those of another machine need not be made again.

    Raises:
        ModelError: the folder has parts that are not known here, or cannot be read.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        logging.disable_progress_bar()
        self.pooling: Pooling = _pooling(folder)
        if not any(list(folder.glob(pattern)) for pattern in VOCABULARIES):
            raise ModelError(
                f"{folder}: the embedder could not be loaded (no tokenizer); expected one of "
                f"{', '.join(VOCABULARIES)} there"
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder}: the embedder could not be loaded ({str(error).splitlines()[0]}); "
                "expected a sentence-transformers folder with safetensors weights"
            ) from error
        self._model = self._model.eval().to(device)
        self._encoder = opened(self._model, dtype)
        self._dtype = dtype
        config = _read(folder / "sentence_bert_config.json") or {}
        self._lower = bool(config.get("do_lower_case", False))
        limits = (
            config.get("max_seq_length"),
            getattr(self._model.config, "max_position_embeddings", None),
            self._tokenizer.model_max_length,
        )
        self.max_tokens = min(int(limit) for limit in limits if limit)
        self.fingerprint = _fingerprint(folder)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A text without tokens has the vector 0. Shapes: N texts → [N, D]."""
        vectors = np.zeros((len(texts), self._encoder.width), dtype=np.float32)
        for rows, lengths, states in self._passes(texts):
            if self.pooling == "cls":
                firsts = torch.tensor([0, *lengths[:-1]], device=states.device).cumsum(0)
                pooled = states[firsts]
            else:
                sizes = torch.tensor(lengths, device=states.device)
                pooled = torch.segment_reduce(states, "mean", lengths=sizes)
            vectors[rows] = functional.normalize(pooled, dim=1).cpu().numpy()
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Those around a text ([CLS]) included, those beyond the model's context not."""
        return [len(row) for row in self._ids(texts)] if texts else []

    def token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """A vector of length 1 for every token of a text, those around it ([CLS]) included.

        Shapes: N texts → N times [T, D].
        """
        found: list[NDArray[np.float32]] = [
            np.zeros((0, self._encoder.width), np.float32) for _ in texts
        ]
        for rows, lengths, states in self._passes(texts):
            units = functional.normalize(states, dim=1).cpu()
            for row, own in zip(rows, split_rows(units, lengths), strict=True):
                found[row] = own.numpy()
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        plain = [text.lower() for text in texts] if self._lower else list(texts)
        ids: list[list[int]] = self._tokenizer(plain, truncation=True, max_length=self.max_tokens)[
            "input_ids"
        ]
        return ids

    def _passes(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """Numbers of some texts, how many tokens each has, and the states of those tokens."""
        if not texts:
            return
        ids = self._ids(texts)
        lengths = [len(row) for row in ids]
        full = [row for row, length in enumerate(lengths) if length]
        for places in batches([lengths[row] for row in full], BATCH_TOKENS):
            rows = [full[place] for place in places]
            with torch.inference_mode():
                states = self._encoder.states([ids[row] for row in rows])
            yield rows, [lengths[row] for row in rows], states


def _pooling(folder: Path) -> Pooling:
    """How a sentence-transformers folder makes one vector of many."""
    modules = {str(m["type"]).rpartition(".")[2]: m for m in _read(folder / "modules.json") or ()}
    if odd := [kind for kind in modules if kind not in MODULES]:
        raise ModelError(
            f"{folder}: its modules.json names a {odd[0]}, which cannot be run here; expected "
            f"{', '.join(MODULES)}"
        )
    if "Pooling" not in modules:
        return "mean"
    config = _read(folder / modules["Pooling"]["path"] / "config.json") or {}
    modes = [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    ] or [config.get("pooling_mode", "mean")]
    if modes not in (["mean"], ["cls"]):
        raise ModelError(
            f"{folder}: it pools by {' and '.join(map(str, modes))}; expected mean or cls"
        )
    return "mean" if modes == ["mean"] else "cls"


def _read(file: Path) -> Json:
    """What a JSON file holds, or None where there is no such file."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: it cannot be read ({error}); expected JSON") from error


def _fingerprint(folder: Path) -> str:
    names = ("model.safetensors", "tokenizer.json", "config.json", "sentence_bert_config.json")
    hashes: dict[str, Any] = {}
    for file in sorted([*folder.glob("*.safetensors"), *(folder / name for name in names[1:])]):
        if file.is_file():
            with file.open("rb") as opened_file:
                hashes[file.name] = hashlib.file_digest(opened_file, "sha256").hexdigest()
    return digest([hashes, _pooling(folder)])

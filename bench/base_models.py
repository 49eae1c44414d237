"""The base models of the benchmarks: the embedded one, and random weights of a known shape."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import rounds
from steelyard.core import ModelSpec
from steelyard.models import loading, open_backend

# Random weights of a known shape. "tiny" takes the way of "7b" where there is no GPU.
SHAPES: dict[str, dict[str, int]] = {
    "7b": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    },
    "tiny": {
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    },
}
SEQUENCE = {"7b": 2048, "tiny": 128}


@dataclass(frozen=True)
class Models:
    """One base model: for ours the decoder that its training child trains, for the peers a fresh
    one that transformers loads from `folder`."""

    spec: ModelSpec
    folder: Path

    def ours(self) -> Any:
        backend: Any = open_backend(self.spec)
        return backend.loaded.decoder

    def peer(self) -> Any:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        gc.collect()  # the model of the turn before
        torch.cuda.empty_cache()
        dtype = getattr(torch, rounds.dtype_name())
        model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype)
        return model.to(device())

    def config(self) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.folder)

    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)


def device() -> str:
    """Where models are opened."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def embedded() -> Models:
    """The embedded model, for the peers the folder that it was dequantised to."""
    return Models(ModelSpec("default", "default"), Path(loading.weights_folder("default")))


def models_of(spec: ModelSpec) -> Models:
    """The base model that a task names: the embedded one, or one in a folder."""
    return embedded() if spec.source == "default" else Models(spec, Path(spec.source))


def random_weights(shape: str, folder: Path) -> Models:
    """A model of random weights in `folder`; the embedded one lends its tokenizer, for its padding
    alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = embedded().tokenizer()
    config = LlamaConfig(**SHAPES[shape], pad_token_id=tokenizer.pad_token_id)
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, rounds.dtype_name()))
    with torch.device(device()):
        LlamaForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    tokenizer.save_pretrained(folder)
    return Models(ModelSpec(shape, str(folder)), folder)

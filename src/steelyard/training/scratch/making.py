"""A tokenizer learned from texts, and a model that knows nothing yet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from steelyard.models.render import TEXT_END
from steelyard.training.scratch.choices import BLOCK_TOKENS, Shape

TOKENIZER_BYTES = 100_000_000  # more text changes few merges and takes minutes. Source: ours


def whole_folder(folder: Path, write: Callable[[Path], object]) -> Path:
    """`folder` as `write` leaves it, or as an earlier process did, but never half of it."""
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write(partial)
        partial.rename(folder)
    return folder


def learn_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """Byte-level BPE: any text has tokens, and any tokens have a text.

    It may have fewer tokens than asked for, where the texts have no more pairs to join.
    """
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[TEXT_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_up_to(texts, TOKENIZER_BYTES), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=TEXT_END,
        eos_token=TEXT_END,
        model_max_length=BLOCK_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def _up_to(texts: Iterable[str], most: int) -> Iterable[str]:
    for text in texts:
        if most <= 0:
            return
        yield text[:most]
        most -= len(text.encode())


def fresh_model(shape: Shape, *, end: int, seed: int, dtype: torch.dtype) -> Any:
    """A Llama-like model that says the same of every text.

    What a layer adds is nothing at first. Source: nanochat, whose output matrices begin as zeros.
    """
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=BLOCK_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
    return model.to(dtype)

"""A language model of a few thousand random weights in a folder, for tests of what needs one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from steelyard.models import Message, Prompt

START, END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTEXT_TOKENS = 256
WORDS = (
    "card",
    "cash",
    "fee",
    "arrival",
    "linking",
    "balance",
    "top",
    "up",
    "lost",
    "rate",
    "user",
)


def write_tokenizer(
    folder: Path,
    *,
    template: str | None = CHATML,
    adds_start: bool = False,
    merges: int = 60,
    more_specials: Sequence[str] = (),
) -> Any:
    """Train a byte-level BPE tokenizer on `WORDS`, save it to `folder` and return it.

    `adds_start` makes it put the start token before every text unless told not to. Without
    merges every byte is a token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = [TEXT_END, START, END, *more_specials]
    trainer = trainers.BpeTrainer(
        vocab_size=len(specials) + len(alphabet) + merges,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    raw.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    if adds_start:
        raw.post_processor = processors.TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, specials.index(START))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=TEXT_END,
        chat_template=template,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_tiny_model(folder: Path, *, seed: int = 0, spare_vocabulary: int = 0) -> Path:
    """Write a random Llama with its tokenizer: 2 layers, width 32, 4 heads over 2 key-value heads.

    The head's row of the end token is larger than the others, so that answers end, and at
    different lengths. `spare_vocabulary` adds rows that the tokenizer has no token for.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + spare_vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] *= 3
    model.save_pretrained(folder)
    return folder


def ask(text: str, system: str | None = None) -> Prompt:
    """A prompt of one user turn, after a system turn if there is one."""
    head = () if system is None else (Message("system", system),)
    return (*head, Message("user", text))


def some_texts(count: int, *, seed: int, longest: int = 12) -> list[str]:
    """Texts of 1 to `longest` words, the same for the same seed."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, longest))) for _ in range(count)]


def open_in_float32(folder: Path) -> Any:
    """A backend on the CPU that shares nothing with any other, exact enough to compare tokens."""
    import torch

    from steelyard.core import ModelSpec
    from steelyard.models import loading, opening

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "number_type", lambda: torch.float32)
        patch.setattr(opening, "_loaded", {})
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return opening.open_backend(ModelSpec("tiny", str(folder)))


def write_adapter(
    folder: Path, backend: Any, *, seed: int, rank: int = 4, alpha: int = 8, **kind: bool
) -> Path:
    """Save an adapter of random weights, large enough to change answers, for the backend's base."""
    import torch

    from steelyard.models import lora

    model, name = backend.loaded.decoder.model, f"random {seed}"
    chance = torch.Generator().manual_seed(seed)
    lora.add(model, name, rank=rank, alpha=alpha, seed=seed, **kind)
    state = lora.tensors(model, name)
    for key, tensor in state.items():
        if "lora_B" in key:
            tensor.normal_(0, 0.2, generator=chance)
        elif "magnitude" in key:
            tensor.mul_(torch.empty_like(tensor).uniform_(0.5, 2, generator=chance))
    lora.assign(model, name, state)
    lora.save(folder, model, name, base=backend.loaded.fingerprint)
    return folder

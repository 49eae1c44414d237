"""Hugging Face `generate` as a careful script uses it: greedy, batches of near lengths, padded on
the left; under a schema by a logits processor over llguidance's masks, all rows at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from steelyard.core import Json
from steelyard.models.constrain import ITEM_SEPARATOR, KEY_SEPARATOR


class Schema:
    """A JSON Schema compiled for a tokenizer, with the separators that ours allows."""

    def __init__(self, schema: Json, tokenizer: Any, *, end: int, vocabulary: int) -> None:
        import llguidance
        from llguidance.hf import from_tokenizer

        self.end, self.vocabulary = end, vocabulary
        self.tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end)
        overrides = {
            "whitespace_flexible": False,
            "item_separator": ITEM_SEPARATOR,
            "key_separator": KEY_SEPARATOR,
            "lenient": True,
        }
        text = json.dumps(schema)
        self.grammar = llguidance.LLMatcher.grammar_from_json_schema(text, overrides=overrides)
        self.executor = llguidance.LLExecutor()

    def matchers(self, rows: int) -> list[Any]:
        """One matcher a row, each at the beginning of an answer."""
        import llguidance

        return [llguidance.LLMatcher(self.tokenizer, self.grammar) for _ in range(rows)]


class Masking(LogitsProcessor):
    """Rules out what no longer fits, for one batch."""

    def __init__(self, schema: Schema, rows: int) -> None:
        self.schema = schema
        self.matchers = schema.matchers(rows)
        self.began = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Shapes: input_ids [B, T], scores [B, V] → [B, V]."""
        if self.began:
            for matcher, token in zip(self.matchers, input_ids[:, -1].tolist(), strict=True):
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        self.began = True
        rows, words = len(self.matchers), -(-scores.shape[-1] // 32)
        bits = torch.zeros(rows, words, dtype=torch.int32)
        going = [(m, row) for row, m in enumerate(self.matchers) if not m.is_stopped()]
        if going:
            self.schema.executor.unsafe_compute_mask_ptr(going, bits.data_ptr(), words * 4, rows)
        shifts = torch.arange(32, dtype=torch.int32)
        allowed = ((bits[:, :, None] >> shifts) & 1).bool().flatten(1)[:, : scores.shape[-1]]
        for row, matcher in enumerate(self.matchers):
            if matcher.is_stopped():  # complete: nothing may follow but the end
                allowed[row] = False
                allowed[row, self.schema.end] = True
        return scores.masked_fill(~allowed.to(scores.device), float("-inf"))


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    end: int,
    batch_rows: int,
    schema: Schema | None = None,
) -> list[list[int]]:
    """The tokens that each prompt is answered with, without the end token."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    answers: dict[int, list[int]] = {}
    for start in range(0, len(order), batch_rows):
        chunk = order[start : start + batch_rows]
        longest = len(prompts[chunk[-1]])
        ids = torch.full((len(chunk), longest), end)
        mask = torch.zeros(len(chunk), longest, dtype=torch.long)
        for place, row in enumerate(chunk):
            ids[place, longest - len(prompts[row]) :] = torch.tensor(list(prompts[row]))
            mask[place, longest - len(prompts[row]) :] = 1
        processors = [] if schema is None else [Masking(schema, len(chunk))]
        with torch.inference_mode():
            written = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                logits_processor=LogitsProcessorList(processors),
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )[:, longest:]
        for row, tokens in zip(chunk, written.tolist(), strict=True):
            answers[row] = tokens[: tokens.index(end)] if end in tokens else tokens
    return [answers[row] for row in range(len(prompts))]

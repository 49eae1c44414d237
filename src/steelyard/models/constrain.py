"""JSON-Schema-constrained decoding by llguidance.

At each step a matcher says which tokens can still lead to a text that fits the schema. Mostly the
likeliest token is one of them; where it is not, the likeliest of them is taken. Separators are
fixed to ", " and ": ", the spelling of our training targets and shots, so that a constraint never
forces unseen tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from steelyard.core import Json
from steelyard.errors import ModelError, need

ITEM_SEPARATOR = ", "
KEY_SEPARATOR = ": "


class Constraint:
    """A compiled schema for one tokenizer; `start` gives each row its own matcher.

    `vocabulary` is the width of the model's logits: some models have more than their tokenizer.
    """

    def __init__(
        self, tokenizer: Any, schema: Mapping[str, Json], *, end_token_id: int, vocabulary: int
    ) -> None:
        guidance = need("llguidance", "torch")
        hf = need("llguidance.hf", "torch")
        self._llg = guidance
        self._tokenizer = hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end_token_id)
        options = {
            "whitespace_flexible": False,
            "item_separator": ITEM_SEPARATOR,
            "key_separator": KEY_SEPARATOR,
            "lenient": True,  # what the grammar cannot say, the validation of the answer still does
        }
        self._grammar = guidance.LLMatcher.grammar_from_json_schema(
            json.dumps(dict(schema)), overrides=options
        )
        failed, messages = guidance.LLMatcher.validate_grammar_with_warnings(
            self._grammar, self._tokenizer
        )
        if failed:
            raise ModelError(
                f"the schema cannot be used for constrained decoding: {messages}; "
                "simplify it, or leave the +constrained recipes out"
            )

    def start(self) -> Any:
        """A fresh matcher, at the beginning of an answer."""
        return self._llg.LLMatcher(self._tokenizer, self._grammar)


def allowed_tokens(matcher: Any, vocabulary: int) -> Tensor:
    """Which tokens may come next. Shapes: [V], boolean."""
    words = (vocabulary + 31) // 32
    bits = torch.zeros(words, dtype=torch.int32)
    matcher.unsafe_compute_mask_ptr(bits.data_ptr(), words * 4)
    shifts = torch.arange(32, dtype=torch.int32)
    return ((bits[:, None] >> shifts) & 1).bool().flatten()[:vocabulary]

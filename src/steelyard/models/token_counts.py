"""How many tokens a model elsewhere will see: by its own tokenizer, or nearly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from steelyard.errors import ModelError, need
from steelyard.models.base import Prompt

# Three bytes of UTF-8 a token: English prose has more than four, records of names and numbers
# three, and a Chinese or Japanese sign is three bytes and about one token.
# Source: ours, docs/log/2026-11-27-models-by-url.md
BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 4  # its role and what stands around it. Source: OpenAI cookbook, 2023


class Counter(Protocol):
    """Counts tokens. `name` tells counters apart, because prompts are packed by them."""

    @property
    def name(self) -> str: ...

    def prompt(self, prompt: Prompt) -> int:
        """Tokens of a prompt as the model will see it."""
        ...

    def text(self, text: str) -> int:
        """Tokens of an answer, its end included."""
        ...


@dataclass(frozen=True)
class ByLength:
    """An estimate from the length in bytes."""

    name: str = f"{BYTES_PER_TOKEN} bytes"

    def prompt(self, prompt: Prompt) -> int:
        return sum(_tokens(message.content) + TOKENS_PER_MESSAGE for message in prompt)

    def text(self, text: str) -> int:
        return _tokens(text) + 1


class ByTokenizer:
    """The count of a tokenizer, and of its chat template, from a folder.

    Raises:
        ModelError: there is none in the folder.
        MissingExtraError: transformers is not installed.
    """

    def __init__(self, folder: str) -> None:
        from steelyard.models.render import Renderer

        transformers: Any = need("transformers", "torch")
        if not (Path(folder) / "tokenizer.json").is_file():
            raise ModelError(
                f"{folder}: there is no tokenizer.json; expected a folder with the tokenizer of "
                "the model behind the URL"
            )
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # a damaged file fails in as many ways as it has parsers
            raise ModelError(
                f"{folder}: the tokenizer could not be loaded: {error}. Expected tokenizer.json "
                "and tokenizer_config.json as the model's authors publish them"
            ) from error
        self.name = folder
        self._renderer = Renderer(tokenizer)

    def prompt(self, prompt: Prompt) -> int:
        return len(self._renderer.prompt_ids(prompt))

    def text(self, text: str) -> int:
        return len(self._renderer.target_ids(text))


def size_bytes(prompt: Prompt) -> int:
    """Bytes of all that a prompt says."""
    return sum(len(message.content.encode()) for message in prompt)


def _tokens(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)

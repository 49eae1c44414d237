"""Texts written by a model behind OpenAI's /v1/chat/completions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

from steelyard.core import Json, ModelSpec, Usage
from steelyard.errors import WorkError
from steelyard.models.base import Generation, Prompt, Sampling
from steelyard.models.posting import Endpoint

TIMEOUT_SECONDS = 300.0  # a long answer of a large model takes minutes. Source: ours


class Writer(Protocol):
    """What can write after a prompt. Every `Backend` can."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        """One generation per prompt, in order; a failure comes back as its error."""
        ...


class UrlWriter:
    """The model of a [models.NAME] table, asked one prompt after the other.

    Raises:
        ModelError: its key is not in the environment.
    """

    def __init__(self, spec: ModelSpec, *, sleep: Callable[[float], None] = time.sleep) -> None:
        assert spec.url is not None
        self.model = spec.source
        self.endpoint = Endpoint(
            spec.url,
            "chat/completions",
            f'an answer of "{spec.source}"',
            key_env=spec.key_env,
            timeout_s=TIMEOUT_SECONDS,
            sleep=sleep,
        )

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        """One generation per prompt, in order; a failure comes back as its error."""
        return [self._generate(prompt, sampling) for prompt in prompts]

    def _generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        assert sampling.schema is None, "only free text is written here"
        body = {
            "model": self.model,
            "messages": [asdict(message) for message in prompt],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
        }
        try:
            reply = self.endpoint.post(body)
            try:
                return _read(json.loads(reply))
            except (ValueError, KeyError, IndexError, TypeError) as reason:
                raise self.endpoint.failed(f"its answer holds no text ({reason!r})") from reason
        except WorkError as error:
            return Generation(error=str(error))


def _read(reply: Json) -> Generation:
    choice, usage = reply["choices"][0], reply.get("usage") or {}
    text = choice["message"]["content"]
    if not isinstance(text, str):
        raise TypeError(f"content is {text!r}")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    counts = [usage.get("prompt_tokens") or 0, cached, usage.get("completion_tokens") or 0]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"usage is {usage!r}")
    return Generation(text, choice.get("finish_reason") != "length", Usage(*counts))

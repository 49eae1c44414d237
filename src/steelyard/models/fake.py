"""The fake: a deterministic stand-in for a language model, for tests, docs and dry runs.

It copies. Shown examples, it repeats the answer of the one that shares most words with the last
message; adapted, it does the same over its training rows; shown nothing, it repeats the message,
or writes the emptiest JSON that a schema allows. Shown passages or records, it gives the one that
holds the longest word of the question, or says what the prompt tells it to say where none does.
"fake:20" takes 20 ms for every answer.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Json, Usage, digest
from steelyard.errors import StoreError
from steelyard.models.base import (
    Generation,
    LabelChoice,
    LabelScores,
    Listen,
    Message,
    Prompt,
    Reader,
    Reading,
    Sampling,
    Token,
    too_long,
)

ROWS_FILE = "fake_adapter.json"
CONTEXT_TOKENS = 2048
DIMENSIONS = 256


@dataclass(frozen=True)
class FakeBackend:
    """Tokens are words. `learned` holds (input, target) pairs of an adapter."""

    source: str = "fake"
    learned: tuple[tuple[str, str], ...] = ()
    context_tokens: int = CONTEXT_TOKENS

    @property
    def fingerprint(self) -> str:
        return digest(["fake", [list(pair) for pair in self.learned]])

    def adapted(self, folder: Path) -> FakeBackend:
        try:
            pairs = json.loads((folder / ROWS_FILE).read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"{folder}: no adapter there ({error}); weigh it again") from error
        return replace(self, learned=tuple((a, b) for a, b in pairs))

    def count_tokens(self, prompt: Prompt | str) -> int:
        if isinstance(prompt, str):
            return len(prompt.split())
        return sum(len(message.content.split()) for message in prompt)

    def count_target_tokens(self, text: str) -> int:
        return len(text.split()) + 1

    def generate(
        self,
        prompts: Sequence[Prompt | str],
        sampling: Sampling,
        listen: Listen | None = None,
    ) -> list[Generation]:
        found = []
        for number, prompt in enumerate(prompts):
            whole = (Message("user", prompt),) if isinstance(prompt, str) else prompt
            written = self._generate(whole, sampling)
            found.append(written if listen is None else _heard(written, number, listen))
        return found

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        return [self._score(prompt, labels) for prompt in prompts]

    def choose_labels(
        self,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        prior: Sequence[float] | None = None,
    ) -> list[LabelChoice]:
        offsets = np.array(prior or [0.0] * len(labels))
        found = []
        for scores in self.score_labels(prompts, labels):
            if scores.error is not None:
                found.append(LabelChoice(error=scores.error))
                continue
            label = int((np.array(scores.log_probs) - offsets).argmax())
            found.append(LabelChoice(label, scores.log_probs[label], scores.usage))
        return found

    def read(self, pairs: Sequence[tuple[Prompt | str, str]]) -> list[Reading]:
        """A word is likely when it was read before, just now or in training."""
        found = []
        for pair in pairs:
            chances = self._chances(pair)
            log_probs = tuple(math.log(chance) for chance in chances)
            found.append(Reading(log_probs, greedy=all(chance > 0.5 for chance in chances)))
        return found

    def divergence(self, base: Reader, pairs: Sequence[tuple[Prompt | str, str]]) -> list[float]:
        assert isinstance(base, FakeBackend)
        return [
            p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            for pair in pairs
            for p, q in zip(base._chances(pair), self._chances(pair), strict=True)
        ]

    def _chances(self, pair: tuple[Prompt | str, str]) -> list[float]:
        before, text = pair
        learned = {word for _, target in self.learned for word in _words(target)}
        told = before if isinstance(before, str) else before[-1].content
        return [0.9 if word in _words(told) | learned else 0.1 for word in text.lower().split()]

    def keep(self, prompts: Sequence[Prompt]) -> None:
        """Nothing to prepare."""

    def _generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        self._work()
        size = self.count_tokens(prompt)
        if size + sampling.max_tokens > self.context_tokens:
            return Generation(error=too_long(size + sampling.max_tokens, self.context_tokens))
        pairs = [*self.learned, *_shots(prompt)]
        asked = prompt[-1].content
        if (read := _read(prompt)) is not None:
            text = read
        elif pairs:
            text = max(pairs, key=lambda pair: _overlap(asked, pair[0]))[1]
        elif sampling.schema is not None:
            text = json.dumps(emptiest(sampling.schema))
        else:
            text = asked
        words = text.split()
        kept = text if len(words) < sampling.max_tokens else " ".join(words[: sampling.max_tokens])
        usage = Usage(size, 0, len(kept.split()) + 1)
        tokens = () if sampling.chances is None else _tokens(kept, sampling.chances)
        return Generation(text=kept, complete=kept == text, usage=usage, tokens=tokens)

    def _score(self, prompt: Prompt, labels: Sequence[str]) -> LabelScores:
        self._work()
        size = self.count_tokens(prompt)
        needed = size + max(self.count_target_tokens(label) for label in labels)
        if needed > self.context_tokens:
            return LabelScores(error=too_long(needed, self.context_tokens))
        pairs = [*self.learned, *_shots(prompt)]
        asked = prompt[-1].content
        scores = np.array([0.2 * _overlap(asked, label) for label in labels])
        for text, target in pairs:
            if target in labels:
                at = labels.index(target)
                scores[at] = max(scores[at], _overlap(asked, text))
        log_probs = 10 * scores - np.log(np.exp(10 * scores).sum())
        return LabelScores(tuple(log_probs.tolist()), Usage(size, 0, len(labels)))

    def _work(self) -> None:
        _, _, milliseconds = self.source.partition(":")
        if milliseconds:
            time.sleep(int(milliseconds) / 1000)


class FakeEmbedder:
    """Hashed bags of words; a token is a word."""

    fingerprint = digest(["fake embedder", DIMENSIONS])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _words(text):
                vectors[row, _column(word)] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
        return unit

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(re.findall(r"\w+", text)) for text in texts]

    def token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        one = np.eye(DIMENSIONS, dtype=np.float32)
        return [one[[_column(word) for word in sorted(_words(text))]] for text in texts]


def emptiest(schema: Mapping[str, Json]) -> Json:
    """The emptiest value of a schema: null where allowed, no items, no text, zero.

    >>> emptiest({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}})
    {'a': ''}
    """
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return emptiest(schema["anyOf"][0])
    kinds = schema.get("type", "null")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "null" in kinds:
        return None
    if kinds[0] == "object":
        properties = schema.get("properties", {})
        return {name: emptiest(properties.get(name, {})) for name in schema.get("required", [])}
    return {"array": [], "string": "", "boolean": False}.get(kinds[0], 0)


def _tokens(text: str, count: int) -> tuple[Token, ...]:
    """The words of a text as tokens, each as likely as a fair coin, as is nothing at all.

    >>> [(token.text, token.top) for token in _tokens("a b", 1)]
    [('a', (('a', -0.6931471805599453),)), (' b', ((' b', -0.6931471805599453),))]
    """
    half = math.log(0.5)
    spelt = re.findall(r"\s*\S+", text)
    return tuple(Token(t, half, ((t, half), ("", half))[:count]) for t in spelt)


def _heard(written: Generation, number: int, listen: Listen) -> Generation:
    """A generation as it grows word by word, up to where the listener has enough."""
    so_far = ""
    for place, word in enumerate(re.findall(r"\s*\S+", written.text), start=1):
        so_far += word
        if listen(number, so_far):
            usage = replace(written.usage, completion_tokens=place)
            tokens = written.tokens[:place]
            return replace(written, text=so_far, complete=False, usage=usage, tokens=tokens)
    return written


def _shots(prompt: Prompt) -> list[tuple[str, str]]:
    turns = [message for message in prompt if message.role != "system"]
    return [
        (asked.content, given.content)
        for asked, given in itertools.pairwise(turns)
        if asked.role == "user" and given.role == "assistant"
    ]


def _column(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % DIMENSIONS


def _read(prompt: Prompt) -> str | None:
    """What the last message, looked up in the lines above its question, comes to.

    >>> from steelyard.models.base import Message
    >>> _read((Message("user", "Passages:\n[1] Oslo has fjords.\n[2] Rome has hills.\n\nRome?"),))
    'Rome has hills. [2]'
    """
    above, _, question = prompt[-1].content.rpartition("\n\n")
    lines = re.findall(r"^(?:- |(\[\d+\]) )?(.*[^:\n])$", above, flags=re.MULTILINE)
    if not lines or not above.startswith(("Passages:", "About the user:")):
        return None
    asked = question.removeprefix("Question: ")
    wanted = max(re.findall(r"\w+", asked.lower()) or [""], key=len)
    for mark, line in lines:
        if wanted in _words(line):
            return f"{line} {mark}".strip()
    told = re.search(r"say: (.+?)(?: After|$)", prompt[0].content)
    return told[1] if told else lines[-1][1]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _overlap(a: str, b: str) -> float:
    left, right = _words(a), _words(b)
    return len(left & right) / max(1, len(left | right))

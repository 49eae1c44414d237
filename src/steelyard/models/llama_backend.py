"""A GGUF model that llama.cpp runs: our prompts and tokens, its arithmetic.

Prompts are rendered and cut into tokens here, by the one renderer (render.py), and sent as ids; so
they are those of the same model under torch, and data cannot end its turn. Transport is that of
models behind URLs (posting.py); the child is kept alive by llama_process.py. When it dies under a
batch, what failed is asked again one by one, so that a request that kills it fails alone.

A label is chosen by a grammar of the labels: greedily, token by token, as behind a URL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.core import Json, Usage, cut, digest
from steelyard.errors import ModelError, WorkError
from steelyard.models.base import (
    Generation,
    LabelChoice,
    Listen,
    Prompt,
    Sampling,
    told_whole,
    too_long,
)
from steelyard.models.chat_reply import MALFORMED
from steelyard.models.llama_process import LlamaProcess, adapter_numbers
from steelyard.models.posting import Endpoint, Manners
from steelyard.models.render import Renderer

ADAPTER_FILE = "adapter.gguf"  # in the folder of an adapter that llama.cpp can load


@dataclass(frozen=True)
class LlamaModel:
    """What all adapters of a model share. `fingerprint` names its file and llama.cpp's version."""

    source: str
    process: LlamaProcess
    renderer: Renderer
    fingerprint: str
    adapters: tuple[Path, ...] = ()


class LlamaBackend:
    """A model under llama.cpp, perhaps with one of the adapters that it was started with."""

    def __init__(
        self, model: LlamaModel, adapter: int | None = None, *, manners: Manners | None = None
    ) -> None:
        self.model, self.source = model, model.source
        self.context_tokens = model.process.settings.context_tokens
        self._adapter = adapter
        slots = model.process.settings.slots
        self._manners = manners or Manners(timeout_s=300.0, concurrency=slots, waits_s=(0.5,))
        self._endpoint: tuple[str, Endpoint] | None = None

    @property
    def fingerprint(self) -> str:
        own = [] if self._adapter is None else [_file_hash(self.model.adapters[self._adapter])]
        return digest([self.model.fingerprint, *own])

    def count_tokens(self, prompt: Prompt | str) -> int:
        """Tokens of the rendered prompt, or of a plain text."""
        return len(self.model.renderer.beginning_ids(prompt))

    def count_target_tokens(self, text: str) -> int:
        """Tokens of an answer, its end token included."""
        return len(self.model.renderer.target_ids(text))

    def generate(
        self,
        prompts: Sequence[Prompt | str],
        sampling: Sampling,
        listen: Listen | None = None,
    ) -> list[Generation]:
        """One generation per prompt, in order; `listen` hears each text once it is whole, and the
        chances of tokens are not asked for."""
        more: dict[str, Json] = {"temperature": sampling.temperature, "seed": sampling.seed}
        if sampling.schema is not None:
            more["json_schema"] = dict(sampling.schema)
        found = self._ask(prompts, sampling.max_tokens, sampling.max_tokens, more)
        written = [_generation(one) for one in found]
        return told_whole(written, listen)

    def choose_labels(
        self,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        prior: Sequence[float] | None = None,
    ) -> list[LabelChoice]:
        """The label that the model writes after every prompt where it may write nothing else."""
        assert prior is None, "without probabilities there is nothing to take a prior from"
        spelt = [json.dumps(label, ensure_ascii=False) for label in labels]
        grammar = f"root ::= {' | '.join(spelt)}"
        longest = max(map(self.count_target_tokens, labels))
        room = max(len(label.encode()) for label in labels) + 1  # it may spell in shorter tokens
        found = self._ask(prompts, longest, room, {"temperature": 0.0, "grammar": grammar})
        return [_choice(one, labels) for one in found]

    def keep(self, prompts: Sequence[Prompt]) -> None:
        """Nothing: llama.cpp keeps the beginning of the last prompt of each slot."""

    def adapted(self, folder: Path) -> LlamaBackend:
        """The same model with an adapter that it was started with."""
        known = adapter_numbers(self.model.adapters)
        if str(folder) not in known:
            raise ModelError(
                f"{folder}: llama.cpp over {self.source} was not started with this adapter; "
                f"expected one of: {', '.join(known) or 'none'}"
            )
        return LlamaBackend(self.model, known[str(folder)], manners=self._manners)

    # ------------------------------------------------------------ asking

    def _ask(
        self, prompts: Sequence[Prompt | str], counted: int, room: int, more: Mapping[str, Json]
    ) -> list[Json | str]:
        """What llama.cpp says to each prompt, or an error."""
        found: dict[int, Json | str] = {}
        bodies: dict[int, Json] = {}
        for number, prompt in enumerate(prompts):
            ids = self.model.renderer.beginning_ids(prompt)
            if len(ids) + counted > self.context_tokens:
                found[number] = too_long(len(ids) + counted, self.context_tokens)
                continue
            body = {"prompt": ids, "n_predict": room, "cache_prompt": True, **more}
            if self.model.adapters:
                body["lora"] = [
                    {"id": n, "scale": float(n == self._adapter)}
                    for n in range(len(self.model.adapters))
                ]
            bodies[number] = body
        found |= self._post(bodies)
        if not self.model.process.is_running:
            for number in bodies:
                if isinstance(found[number], str):
                    found |= self._post({number: bodies[number]})
        return [found[number] for number in range(len(prompts))]

    def _post(self, bodies: Mapping[int, Json]) -> dict[int, Json | str]:
        if not bodies:
            return {}
        try:
            replies = self._at(self.model.process.address()).post_all(list(bodies.values()))
        except WorkError as error:  # it could not be started
            return dict.fromkeys(bodies, str(error))
        found: dict[int, Json | str] = {}
        for number, reply in zip(bodies, replies, strict=True):
            found[number] = str(reply) if isinstance(reply, WorkError) else _said(reply)
        if any(not isinstance(one, str) for one in found.values()):
            self.model.process.answered()
        return found

    def _at(self, address: str) -> Endpoint:
        """Where it is asked; a child that was started again has another address."""
        if self._endpoint is None or self._endpoint[0] != address:
            wanted = f'an answer of "{self.source}"'
            self._endpoint = address, Endpoint(address, "completion", wanted, manners=self._manners)
        return self._endpoint[1]


def _said(reply: bytes) -> Json | str:
    try:
        said: Any = json.loads(reply)
        counts = [said["tokens_evaluated"], said["timings"]["cache_n"], said["tokens_predicted"]]
        if not isinstance(said["content"], str) or any(type(n) is not int for n in counts):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        return f"{MALFORMED}: {cut(reply.decode(errors='replace'))}"
    return said


def _usage(said: Json) -> Usage:
    return Usage(said["tokens_evaluated"], said["timings"]["cache_n"], said["tokens_predicted"])


def _generation(said: Json | str) -> Generation:
    if isinstance(said, str):
        return Generation(error=said)
    return Generation(said["content"], said["stop_type"] != "limit", _usage(said))


def _choice(said: Json | str, labels: Sequence[str]) -> LabelChoice:
    if isinstance(said, str):
        return LabelChoice(error=said)
    if said["content"] not in labels:
        why = f"{MALFORMED}: one of {len(labels)} labels was asked for, not {cut(said['content'])}"
        return LabelChoice(error=why, usage=_usage(said))
    return LabelChoice(list(labels).index(said["content"]), None, _usage(said))


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

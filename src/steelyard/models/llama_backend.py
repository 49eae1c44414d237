"""A GGUF model that llama.cpp runs: our prompts and tokens, its arithmetic.

Prompts are rendered and cut into tokens here, by the one renderer (render.py), and sent as ids; so
they are those of the same model under torch, and data cannot end its turn. Transport is that of
models behind URLs (posting.py); the child is kept alive by llama_process.py. When it dies under a
batch, what failed is asked again one by one, so that a request that kills it fails alone; but not
what somebody heard the beginning of. One that was asked and says nothing for too long is ended.

A label is chosen by a grammar of the labels: greedily, token by token, as behind a URL.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    Token,
    too_long,
)
from steelyard.models.chat_reply import MALFORMED
from steelyard.models.llama_process import LlamaProcess, adapter_numbers
from steelyard.models.places import file_hash
from steelyard.models.posting import Endpoint, LateError, Manners
from steelyard.models.render import Renderer

ADAPTER_FILE = "adapter.gguf"  # in the folder of an adapter that llama.cpp can load
HUNG_SECONDS = 60.0  # without a word to anybody, when a request is given up. Source: ours
PLAIN = {"top_k": 0, "min_p": 0.0}  # samplers of its own that nobody asked for


@dataclass(frozen=True)
class LlamaModel:
    """What all adapters of a model share. `fingerprint` names its file and llama.cpp's version."""

    source: str
    process: LlamaProcess
    renderer: Renderer
    fingerprint: str

    @property
    def adapters(self) -> tuple[Path, ...]:
        """Those that it is started with, in the order of their numbers."""
        return tuple(map(Path, self.process.settings.adapters))


class LlamaBackend:
    """A model under llama.cpp, perhaps with one of the adapters that it was started with."""

    def __init__(
        self, model: LlamaModel, adapter: int | None = None, *, manners: Manners | None = None
    ) -> None:
        self.model, self.source = model, model.source
        self.context_tokens = model.process.settings.context_tokens
        self._adapter = adapter
        slots = model.process.settings.slots
        self._manners = manners or Manners(
            timeout_s=300.0, concurrency=slots, waits_s=(0.5,), again_when_late=False
        )
        self._endpoint: tuple[str, Endpoint] | None = None

    @property
    def fingerprint(self) -> str:
        own = [] if self._adapter is None else [file_hash(self.model.adapters[self._adapter])]
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
        """One generation per prompt, in order; `listen` hears each text as it grows."""
        more: dict[str, Json] = {"temperature": sampling.temperature, "seed": sampling.seed}
        if sampling.temperature:
            more |= {**PLAIN, "top_p": sampling.top_p}
        if sampling.schema is not None:
            more["json_schema"] = dict(sampling.schema)
        if sampling.chances is not None:
            more["n_probs"] = max(1, sampling.chances)  # none are told for 0
        limit = sampling.max_tokens
        found = self._ask(prompts, limit, limit, more, None if listen is None else Heard(listen))
        return [_generation(one, sampling.chances) for one in found]

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

    def loaded(self, folder: Path) -> LlamaBackend:
        """The same model with an adapter that it is started with from now on."""
        self.model.process.load(folder / ADAPTER_FILE)
        return self.adapted(folder)

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
        self,
        prompts: Sequence[Prompt | str],
        counted: int,
        room: int,
        more: Mapping[str, Json],
        heard: Heard | None = None,
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
        spent = set[int]()
        found |= self._post(bodies, heard, spent)
        if not self.model.process.is_running:
            for number in bodies:
                if isinstance(found[number], str) and number not in spent:
                    found |= self._post({number: bodies[number]}, heard, spent)
        return [found[number] for number in range(len(prompts))]

    def _post(
        self, bodies: Mapping[int, Json], heard: Heard | None, spent: set[int]
    ) -> dict[int, Json | str]:
        """What is said to each, or an error; `spent` takes up those not to be asked again: what
        was late, and what somebody heard the beginning of."""
        if not bodies:
            return {}
        try:
            with self.model.process.asked() as address:
                return self._post_to(self._at(address), bodies, heard, spent)
        except WorkError as error:  # it could not be started
            return dict.fromkeys(bodies, str(error))

    def _post_to(
        self, endpoint: Endpoint, bodies: Mapping[int, Json], heard: Heard | None, spent: set[int]
    ) -> dict[int, Json | str]:
        numbers, asked = list(bodies), list(bodies.values())
        found: dict[int, Json | str] = {}
        failed: Sequence[object]
        if heard is None:
            failed = replies = endpoint.post_all(asked)
            for number, reply in zip(numbers, replies, strict=True):
                found[number] = str(reply) if isinstance(reply, WorkError) else _said(reply)
        else:
            heard.at = time.monotonic()
            failed = endpoint.stream_all(
                [{**body, "stream": True, "timings_per_token": True} for body in asked],
                lambda place, data: heard.told(numbers[place], data),
                lambda place: heard.left(numbers[place]),
            )
            for number, why in zip(numbers, failed, strict=True):
                found[number] = heard.said(number) if why is None else str(why)
            spent.update(heard.last)
        late = {n for n, why in zip(numbers, failed, strict=True) if isinstance(why, LateError)}
        spent.update(late)
        if late or (heard is not None and heard.is_silent(numbers)):
            self.model.process.hung()
        elif any(not isinstance(one, str) for one in found.values()):
            self.model.process.answered()
        return found

    def _at(self, address: str) -> Endpoint:
        """Where it is asked; a child that was started again has another address."""
        if self._endpoint is None or self._endpoint[0] != address:
            wanted = f'an answer of "{self.source}"'
            self._endpoint = address, Endpoint(address, "completion", wanted, manners=self._manners)
        return self._endpoint[1]


@dataclass
class Heard:
    """What is heard of streams, by the number of the prompt. Units: `at` is `time.monotonic()`."""

    listen: Listen
    at: float = 0.0
    texts: dict[int, str] = field(default_factory=dict)
    chances: dict[int, list[Json]] = field(default_factory=dict)
    last: dict[int, Json | str] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)

    def told(self, number: int, data: bytes) -> bool:
        """Take up an event; whether the rest is not wanted."""
        self.at = time.monotonic()
        try:
            said: Any = json.loads(data)
            if "error" in said or "code" in said:
                raise ValueError
            self.texts[number] = self.texts.get(number, "") + said["content"]
            self.chances.setdefault(number, []).extend(said.get("completion_probabilities", ()))
            self.last[number] = said
            whole = bool(said["stop"])
        except (ValueError, KeyError, TypeError):
            self.last[number] = f"{MALFORMED}: {cut(data.decode(errors='replace'))}"
            return True
        return whole or self.left(number)

    def left(self, number: int) -> bool:
        """Whether nobody wants more of it."""
        if self.listen(number, self.texts.get(number, "")):
            self.stopped.add(number)
        return number in self.stopped

    def is_whole(self, number: int) -> bool:
        """Whether its end was heard."""
        last = self.last.get(number)
        return isinstance(last, dict) and bool(last["stop"])

    def is_silent(self, numbers: Sequence[int]) -> bool:
        """Whether one of them was given up after nothing had been said to anybody for too long."""
        given_up = any(not self.is_whole(number) for number in numbers)
        return given_up and time.monotonic() - self.at > HUNG_SECONDS

    def said(self, number: int) -> Json | str:
        """What a reply without a stream would say, or an error."""
        last = self.last.get(number)
        if isinstance(last, str):
            return last
        if not self.is_whole(number):
            if number not in self.stopped:
                return f"{MALFORMED}: it ended before the answer did"
            counts = {"tokens_evaluated": 0, "tokens_predicted": 0, "timings": {"cache_n": 0}}
            last = {**counts, **(last or {}), "stop_type": "limit"}
        text, told = self.texts.get(number, ""), self.chances.get(number, [])
        return _checked({**(last or {}), "content": text, "completion_probabilities": told})


def _said(reply: bytes) -> Json | str:
    try:
        return _checked(json.loads(reply))
    except ValueError:
        return f"{MALFORMED}: {cut(reply.decode(errors='replace'))}"


def _checked(said: Any) -> Json | str:
    """What llama.cpp said, if it has what we read of it."""
    try:
        counts = [said["tokens_evaluated"], said["timings"]["cache_n"], said["tokens_predicted"]]
        if not isinstance(said["content"], str) or any(type(n) is not int for n in counts):
            raise TypeError
    except (KeyError, TypeError):
        return f"{MALFORMED}: {cut(json.dumps(said, ensure_ascii=False))}"
    return said


def _usage(said: Json) -> Usage:
    return Usage(said["tokens_evaluated"], said["timings"]["cache_n"], said["tokens_predicted"])


def _generation(said: Json | str, chances: int | None) -> Generation:
    if isinstance(said, str):
        return Generation(error=said)
    tokens: tuple[Token, ...] = ()
    if chances is not None:
        tokens = tuple(
            Token(
                one["token"],
                one["logprob"],
                tuple((top["token"], top["logprob"]) for top in one["top_logprobs"][:chances]),
            )
            for one in said.get("completion_probabilities", ())
        )
    whole = said["stop_type"] != "limit"
    return Generation(said["content"], whole, _usage(said), tokens=tokens)


def _choice(said: Json | str, labels: Sequence[str]) -> LabelChoice:
    if isinstance(said, str):
        return LabelChoice(error=said)
    if said["content"] not in labels:
        why = f"{MALFORMED}: one of {len(labels)} labels was asked for, not {cut(said['content'])}"
        return LabelChoice(error=why, usage=_usage(said))
    return LabelChoice(list(labels).index(said["content"]), None, _usage(said))

"""The `torch` backend: a Hugging Face causal language model on this machine.

The prompts of a call are answered together, the longest first: what they begin with is computed
once (`sharing.py`), answers are written by many rows at once, each replaced by the next when it is
done (`generation.py`), and labels are searched (`label_search.py`). A call that runs out of memory
goes on with fewer rows.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from steelyard.core import Usage, digest
from steelyard.models import generation, lora, runtime, whole
from steelyard.models.base import (
    Generation,
    LabelChoice,
    LabelScores,
    Listen,
    Prompt,
    Reader,
    Reading,
    Sampling,
    Token,
    too_long,
)
from steelyard.models.constrain import Constraint
from steelyard.models.decoder import Decoder
from steelyard.models.drafting import NONE, Phrases
from steelyard.models.kv_cache import NOTHING, Prefixes, bytes_per_token, common
from steelyard.models.label_search import LabelSearch, Search
from steelyard.models.reading import next_log_probs
from steelyard.models.render import Renderer
from steelyard.models.sharing import Prompts

KEPT_BYTES = 300_000_000  # for beginnings that later calls use again. Source: ours
ROWS_AT_ONCE = 64  # passes over more rows are no cheaper per row. Source: ours
GIVEN_UP_TOKENS = 24  # of an answer that cannot become what was asked for. Source: ours

T = TypeVar("T")


@dataclass(slots=True)
class Loaded:
    """A base model in memory, shared by every adapter on it.

    `lock` serialises calls: the adapter switch belongs to the whole model.
    """

    decoder: Decoder
    renderer: Renderer
    fingerprint: str
    context_tokens: int
    lock: threading.RLock
    constraints: dict[str, Constraint]
    prefixes: Prefixes


class TorchBackend:
    """A base model and at most one adapter."""

    def __init__(
        self,
        source: str,
        loaded: Loaded,
        adapter: str | None = None,
        *,
        memory_bytes: int,
        folder: Path | None = None,
        base: str | None = None,
    ) -> None:
        self.source = source
        self.loaded = loaded
        self.adapter = adapter
        self.folder = folder  # of the adapter
        self.base = base or loaded.fingerprint  # of the weights that training began with
        self.context_tokens = loaded.context_tokens
        self.fingerprint = digest([loaded.fingerprint, adapter])
        self.memory_bytes = memory_bytes
        self.kept = NOTHING
        self._alike: tuple[tuple[str, ...], Phrases] = ((), NONE)

    @property
    def renderer(self) -> Renderer:
        """The one prompt renderer of this model."""
        return self.loaded.renderer

    def adapted(self, folder: Path) -> TorchBackend:
        if whole.is_whole(folder):
            from steelyard.models.opening import open_folder

            whole.check_base(folder, self.loaded.fingerprint)
            loaded, base = open_folder(folder), self.loaded.fingerprint
            return TorchBackend(self.source, loaded, memory_bytes=self.memory_bytes, base=base)
        with self.loaded.lock:
            name = lora.load(folder, self.loaded.decoder.model, base=self.loaded.fingerprint)
        return TorchBackend(
            self.source, self.loaded, name, memory_bytes=self.memory_bytes, folder=folder
        )

    def count_tokens(self, prompt: Prompt | str) -> int:
        return len(self.renderer.beginning_ids(prompt))

    def count_target_tokens(self, text: str) -> int:
        return len(self.renderer.target_ids(text))

    def keep(self, prompts: Sequence[Prompt]) -> None:
        ids = [self.renderer.prompt_ids(prompt) for prompt in prompts]
        if not ids:
            return
        shared = min(common(ids), self.context_tokens - 1)
        with self.speaking():
            self.kept = self.loaded.prefixes.get(ids[0][:shared])

    def generate(
        self,
        prompts: Sequence[Prompt | str],
        sampling: Sampling,
        listen: Listen | None = None,
    ) -> list[Generation]:
        constraint = self._constraint(sampling)

        def run(
            shared: Prompts, indices: list[int], at_once: int, found: dict[int, Generation]
        ) -> None:
            def given_up(answer: generation.Answering) -> bool:
                enough = listen is not None and listen(
                    shared.numbers[answer.index], _whole(self.renderer.decode(answer.written))
                )
                return enough or self._is_hopeless(answer.written, sampling)

            def done(answer: generation.Answering) -> None:
                tokens = len(answer.written) + answer.complete
                usage = Usage(len(shared.ids[answer.index]), shared.cached[answer.index], tokens)
                text = self.renderer.decode(answer.written)
                chances = self._tokens(answer)
                found[answer.index] = Generation(text, answer.complete, usage, tokens=chances)

            end, phrases = self.renderer.end_token_id, self._phrases(sampling.alike)
            manner = generation.Manner(sampling, end, constraint, given_up, phrases)
            decoder = self.loaded.decoder
            generation.write(decoder, shared, indices, manner, at_once=at_once, done=done)

        room = sampling.max_tokens
        return self._run(prompts, run, lambda error: Generation(error=error), room, room)

    def _phrases(self, texts: tuple[str, ...]) -> Phrases:
        if self._alike[0] != texts:
            self._alike = texts, Phrases(map(self.renderer.target_ids, texts))
        return self._alike[1]

    def _tokens(self, answer: generation.Answering) -> tuple[Token, ...]:
        """What was written token by token, where chances were asked for."""

        def spelt(token: int) -> str:
            return self.renderer.decode([token])

        return tuple(
            Token(spelt(token), chance, tuple((spelt(other), value) for other, value in top))
            for token, (chance, top) in zip(answer.written, answer.chances, strict=False)
        )

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        targets = [self.renderer.target_ids(label) for label in labels]
        search = LabelSearch(self.loaded.decoder, targets, prune=False)

        def answer(found: Search, usage: Usage) -> LabelScores:
            return LabelScores(tuple(found.scores[n] for n in range(len(labels))), usage)

        return self._search(prompts, search, answer, lambda error: LabelScores(error=error))

    def choose_labels(
        self,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        prior: Sequence[float] | None = None,
    ) -> list[LabelChoice]:
        targets = [self.renderer.target_ids(label) for label in labels]
        offsets = None if prior is None else [-value for value in prior]
        search = LabelSearch(self.loaded.decoder, targets, offsets=offsets, prune=True)

        def answer(found: Search, usage: Usage) -> LabelChoice:
            label = search.best(found)
            return LabelChoice(label, found.scores[label], usage)

        return self._search(prompts, search, answer, lambda error: LabelChoice(error=error))

    def read(self, pairs: Sequence[tuple[Prompt | str, str]]) -> list[Reading]:
        found = [Reading((), greedy=False) for _ in pairs]
        places = self._places(pairs)
        with self.speaking():
            rows = [(ids[:-1], place - 1) for _, ids, place in places]
            for row, log_probs in next_log_probs(self.loaded.decoder, rows):
                number, ids, place = places[row]
                wanted = torch.tensor(ids[place:], device=log_probs.device)
                values = log_probs.gather(1, wanted[:, None])[:, 0]
                greedy = bool((log_probs.argmax(-1) == wanted).all())
                found[number] = Reading(tuple(values.tolist()), greedy)
        return found

    def divergence(self, base: Reader, pairs: Sequence[tuple[Prompt | str, str]]) -> list[float]:
        assert isinstance(base, TorchBackend)
        found: list[float] = []
        for _, ids, place in self._places(pairs):  # one at a time: a whole vocabulary per token
            told = []
            for one in (base, self):
                with one.speaking():
                    [(_, log_probs)] = next_log_probs(one.loaded.decoder, [(ids[:-1], place - 1)])
                    told.append(log_probs)
            before, after = told
            found += (before.exp() * (before - after)).sum(-1).tolist()
        return found

    def _places(
        self, pairs: Sequence[tuple[Prompt | str, str]]
    ) -> list[tuple[int, list[int], int]]:
        """The number of each pair that can be read, its tokens, and where its second text is."""
        found = []
        for number, (before, text) in enumerate(pairs):
            start, own = self.renderer.beginning_ids(before), self.renderer.text_ids(text)
            kept = min(len(start), self.context_tokens - len(own))
            if own and kept > 0:
                found.append((number, [*start[len(start) - kept :], *own], kept))
        return found

    def _search(
        self,
        prompts: Sequence[Prompt],
        search: LabelSearch,
        answer: Callable[[Search, Usage], T],
        failed: Callable[[str], T],
    ) -> list[T]:
        def run(shared: Prompts, indices: list[int], at_once: int, found: dict[int, T]) -> None:
            for start in range(0, len(indices), at_once):
                for one in search.run(shared, indices[start : start + at_once]):
                    size, cached = len(shared.ids[one.index]), shared.cached[one.index]
                    found[one.index] = answer(one, Usage(size, cached, one.tokens_run))

        return self._run(prompts, run, failed, search.longest, search.most_tokens)

    def _run(
        self,
        prompts: Sequence[Prompt | str],
        run: Callable[[Prompts, list[int], int, dict[int, T]], None],
        failed: Callable[[str], T],
        room: int,
        held: int,
    ) -> list[T]:
        """Answer prompts, the longest first; a prompt that does not fit fails alone.

        When memory runs out, the prompts that are left go on with half as many rows at once.

        `room` is how long an answer may be; `held` is how many tokens are kept for one row
        beside its prompt: all the labels, where they are scored.
        """
        encoded = [self.renderer.beginning_ids(prompt) for prompt in prompts]
        limit = self.context_tokens - room
        results: dict[int, T] = {
            i: failed(too_long(len(ids) + room, self.context_tokens))
            for i, ids in enumerate(encoded)
            if len(ids) > limit
        }
        fitting = [i for i in range(len(encoded)) if i not in results]
        if fitting:
            fitting.sort(key=lambda i: (-len(encoded[i]), i))
            ids = [encoded[i] for i in fitting]
            with self.speaking():
                shared = Prompts(self.loaded.prefixes, ids, self.kept, fitting)
                per_row = (shared.own(0) + held) * bytes_per_token(self.loaded.decoder)
                at_once = max(1, min(ROWS_AT_ONCE, self.memory_bytes // per_row))
                found: dict[int, T] = {}
                while waiting := [i for i in range(len(ids)) if i not in found]:
                    try:
                        run(shared, waiting, at_once, found)
                    except (RuntimeError, MemoryError) as error:
                        if at_once == 1 or not out_of_memory(error):
                            raise
                        at_once = max(1, min(at_once, len(waiting)) // 2)
            results |= {fitting[n]: answer for n, answer in found.items()}
        return [results[i] for i in range(len(prompts))]

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """The model to ourselves, with our adapter on."""
        with self.loaded.lock, torch.inference_mode():
            self.loaded.decoder.switch.active = self.adapter
            try:
                yield
            finally:
                runtime.give_back()

    def _is_hopeless(self, ids: list[int], sampling: Sampling) -> bool:
        """Whether an answer, now long enough to be looked at, has begun as it must not."""
        if not sampling.begins or len(ids) != GIVEN_UP_TOKENS:
            return False
        text = self.renderer.decode(ids).lstrip()
        return bool(text) and text[0] not in sampling.begins

    def _constraint(self, sampling: Sampling) -> Constraint | None:
        if sampling.schema is None:
            return None
        key = json.dumps(dict(sampling.schema))  # the order of the fields too
        if key not in self.loaded.constraints:
            self.loaded.constraints[key] = Constraint(
                self.renderer.tokenizer,
                sampling.schema,
                end_token_id=self.renderer.end_token_id,
                vocabulary=self.loaded.decoder.head.out_features,
            )
        return self.loaded.constraints[key]


def _whole(text: str) -> str:
    """The text so far without the beginning of a character that is not all there yet."""
    return text.rstrip("\ufffd")


def out_of_memory(error: Exception) -> bool:
    """Whether that is what an error says, on whatever device."""
    exhausted = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return exhausted or "can't allocate memory" in str(error)

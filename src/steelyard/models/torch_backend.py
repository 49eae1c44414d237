"""The `torch` backend: a Hugging Face causal language model on this machine.

Prompts of a call are answered in batches of near lengths. The tokens that all prompts of a batch
begin with are computed once and shared (`cached_tokens` on every row but the first). Rows that
are finished leave the batch when they are half of it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from steelyard.core import Usage, digest
from steelyard.models import kv_cache, lora
from steelyard.models.base import Generation, LabelScores, Prompt, Sampling, too_long
from steelyard.models.constrain import Constraint, rule_out
from steelyard.models.label_tree import LabelTree
from steelyard.models.render import Renderer

# Rows × tokens held at once: 48k tokens of SmolLM2's cache are 1.1 GB.
# Source: ours; larger batches answer no faster on two cores.
BATCH_TOKENS = 49_152
BATCH_ROWS = 64
GIVEN_UP_TOKENS = 24  # of an answer that cannot become what was asked for. Source: ours

T = TypeVar("T")


@dataclass(slots=True)
class Loaded:
    """A base model in memory, shared by every adapter on it.

    `lock` serialises calls: the adapter switch belongs to the whole model.
    """

    model: Any
    renderer: Renderer
    fingerprint: str
    lock: threading.RLock
    constraints: dict[str, Constraint]


class TorchBackend:
    """A base model and at most one adapter."""

    def __init__(self, source: str, loaded: Loaded, adapter: str | None = None) -> None:
        self.source = source
        self.loaded = loaded
        self.adapter = adapter
        self.context_tokens = kv_cache.context_tokens(loaded.model.config)
        self.fingerprint = digest([loaded.fingerprint, adapter])

    @property
    def renderer(self) -> Renderer:
        """The one prompt renderer of this model."""
        return self.loaded.renderer

    def adapted(self, folder: Path) -> TorchBackend:
        with self.loaded.lock:
            name = lora.load(folder, self.loaded.model, base=self.loaded.fingerprint)
        return TorchBackend(self.source, self.loaded, name)

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self.renderer.prompt_ids(prompt))

    def count_target_tokens(self, text: str) -> int:
        return len(self.renderer.target_ids(text))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        def run(batch: list[list[int]]) -> list[Generation]:
            return self._generate(batch, sampling)

        return self._in_batches(
            prompts,
            run,
            lambda error: Generation(error=error),
            room=sampling.max_tokens,
            held=sampling.max_tokens,
        )

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        targets = [self.renderer.target_ids(label) for label in labels]
        tree = LabelTree.of(targets)

        def run(batch: list[list[int]]) -> list[LabelScores]:
            return self._score(batch, tree)

        return self._in_batches(
            prompts,
            run,
            lambda error: LabelScores(error=error),
            room=max(map(len, targets)),
            held=len(tree.tokens),
        )

    def _in_batches(
        self,
        prompts: Sequence[Prompt],
        run: Callable[[list[list[int]]], list[T]],
        failed: Callable[[str], T],
        *,
        room: int,
        held: int,
    ) -> list[T]:
        """Run prompts in batches of near lengths; a prompt that does not fit fails alone.

        `room` is how long an answer may be; `held` is how many tokens the cache keeps for one
        row beside its prompt: all the labels, where they are scored.
        """
        encoded = [self.renderer.prompt_ids(prompt) for prompt in prompts]
        limit = self.context_tokens - room
        results: dict[int, T] = {
            i: failed(too_long(len(ids) + room, self.context_tokens))
            for i, ids in enumerate(encoded)
            if len(ids) > limit
        }
        order = sorted(
            (i for i in range(len(encoded)) if i not in results), key=lambda i: (len(encoded[i]), i)
        )
        switch = lora.wrap(self.loaded.model) if self.adapter else None
        while order:
            # The longest go first, so that the largest batch meets the memory limit at once.
            rows = max(1, min(BATCH_ROWS, BATCH_TOKENS // (len(encoded[order[-1]]) + held)))
            order, chunk = order[:-rows], order[-rows:]
            with self.loaded.lock, torch.inference_mode():
                _activate(self.loaded.model, switch, self.adapter)
                answers = run([encoded[i] for i in chunk])
            results.update(zip(chunk, answers, strict=True))
        return [results[i] for i in range(len(prompts))]

    def _prefill(
        self, batch: list[list[int]], held: int
    ) -> tuple[Any, Tensor, Tensor, list[Usage]]:
        """Run a batch of prompts through the model, into a cache with room for `held` more.

        Returns the cache, the attention mask of what it holds [B, T], the last hidden state of
        each row [B, D] and each row's usage. Rows are padded on the left, after the prefix.
        """
        model, device = self.loaded.model, self.loaded.model.device
        shared = _common_prefix(batch) if len(batch) > 1 else 0
        rest = [ids[shared:] for ids in batch]
        longest = max(map(len, rest))
        capacity = shared + longest + held
        num_layers = model.config.num_hidden_layers
        if shared:
            start = torch.tensor([batch[0][:shared]], device=device)
            cache = kv_cache.empty(num_layers, shared)
            model.model(input_ids=start, past_key_values=cache, use_cache=True)
            cache = kv_cache.spread(cache, len(batch), capacity)
        else:
            cache = kv_cache.empty(num_layers, capacity)
        pad = model.config.pad_token_id or 0
        ids = torch.tensor([[pad] * (longest - len(r)) + r for r in rest], device=device)
        lengths = torch.tensor([len(r) for r in rest], device=device)
        columns = torch.arange(longest, device=device)
        seen = columns >= (longest - lengths)[:, None]
        mask = torch.cat([seen.new_ones(len(batch), shared), seen], dim=1).long()
        positions = (shared + columns - (longest - lengths)[:, None]).clamp(min=0)
        hidden = model.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        usage = [
            Usage(prompt_tokens=len(row), cached_tokens=shared if i else 0)
            for i, row in enumerate(batch)
        ]
        return cache, mask, hidden, usage

    def _generate(self, batch: list[list[int]], sampling: Sampling) -> list[Generation]:
        model, end = self.loaded.model, self.renderer.end_token_id
        cache, mask, hidden, usage = self._prefill(batch, sampling.max_tokens)
        constraint = self._constraint(sampling)
        matchers = [constraint.start() for _ in batch] if constraint else None
        generators = [_generator(sampling.seed, ids) for ids in batch]
        written: list[list[int]] = [[] for _ in batch]
        complete = [False] * len(batch)
        over = [False] * len(batch)  # complete, or given up
        rows = list(range(len(batch)))  # the batch's rows still in the cache
        for _ in range(sampling.max_tokens):
            logits = model.lm_head(hidden).float()
            if matchers is not None:
                rule_out(logits, [matchers[row] for row in rows])
            tokens = _pick(logits, sampling, [generators[row] for row in rows])
            for row, token in zip(rows, tokens.tolist(), strict=True):
                if over[row]:
                    continue
                if token == end or (
                    matchers is not None and not matchers[row].consume_token(token)
                ):
                    complete[row] = True
                else:
                    written[row].append(token)
                    complete[row] = matchers is not None and matchers[row].is_stopped()
                over[row] = complete[row] or self._is_hopeless(written[row], sampling)
            alive = [i for i, row in enumerate(rows) if not over[row]]
            if not alive:
                break
            if 2 * len(alive) <= len(rows):
                keep = torch.tensor(alive, device=mask.device)
                cache.batch_select_indices(keep)
                mask, tokens = mask[keep], tokens[keep]
                rows = [rows[i] for i in alive]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            hidden = model.model(
                input_ids=tokens[:, None],
                attention_mask=mask,
                position_ids=mask.sum(dim=1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
        return [
            Generation(
                text=self.renderer.decode(ids),
                complete=done,
                usage=replace(u, completion_tokens=len(ids) + done),
            )
            for ids, done, u in zip(written, complete, usage, strict=True)
        ]

    def _score(self, batch: list[list[int]], tree: LabelTree) -> list[LabelScores]:
        """All labels after each prompt, in one pass over the tree of their tokens."""
        model, nodes = self.loaded.model, len(tree.tokens)
        cache, mask, hidden, usage = self._prefill(batch, nodes)
        depths = torch.tensor(tree.depths, device=mask.device)
        prompt_part = mask.bool()[:, None, :].expand(-1, nodes, -1)
        tree_part = tree.sees.to(mask.device).expand(len(batch), -1, -1)
        states = model.model(
            input_ids=torch.tensor(tree.tokens, device=mask.device).expand(len(batch), -1),
            attention_mask=torch.cat([prompt_part, tree_part], dim=2)[:, None],
            position_ids=mask.sum(dim=1, keepdim=True) + depths,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return [
            LabelScores(
                tuple(tree.score(torch.cat([hidden[row : row + 1], states[row]]), model.lm_head)),
                replace(usage[row], completion_tokens=nodes),
            )
            for row in range(len(batch))
        ]

    def _is_hopeless(self, ids: list[int], sampling: Sampling) -> bool:
        """Whether an answer, now long enough to be looked at, has begun as it must not."""
        if not sampling.begins or len(ids) != GIVEN_UP_TOKENS:
            return False
        text = self.renderer.decode(ids).lstrip()
        return bool(text) and text[0] not in sampling.begins

    def _constraint(self, sampling: Sampling) -> Constraint | None:
        if sampling.schema is None:
            return None
        key = digest(dict(sampling.schema))
        if key not in self.loaded.constraints:
            self.loaded.constraints[key] = Constraint(
                self.renderer.tokenizer,
                sampling.schema,
                end_token_id=self.renderer.end_token_id,
                vocabulary=self.loaded.model.lm_head.out_features,
            )
        return self.loaded.constraints[key]


def _activate(model: Any, switch: lora.Switch | None, adapter: str | None) -> None:
    found = switch or getattr(model, "lora_switch", None)
    if found is not None:
        found.active = adapter


def _common_prefix(batch: list[list[int]]) -> int:
    """Tokens that all rows begin with, leaving every row at least one of its own."""
    low, high = min(batch), max(batch)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    return min(shared, min(map(len, batch)) - 1)


def _generator(seed: int, ids: list[int]) -> torch.Generator:
    """Randomness of a row's own, so that its sample does not depend on its neighbours."""
    own = hashlib.sha256(repr((seed, ids)).encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(own, "big") >> 1)


def _pick(logits: Tensor, sampling: Sampling, generators: list[torch.Generator]) -> Tensor:
    """The next token of each row. Shapes: logits [B, V] → [B]."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1).cpu()
    picked = [
        torch.multinomial(row, 1, generator=generator)
        for row, generator in zip(probabilities, generators, strict=True)
    ]
    return torch.cat(picked).to(logits.device)

"""Text of the base's own, read again among new documents so that it is not forgotten.

What a model would say anyway is what it must not lose. It needs no data of anyone's, and it is
there for every model. Source: self-generated replay, Sun et al. 2019, arXiv:1909.03329.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from steelyard.models import Sampling
from steelyard.models.attention import Packing, WholeRows
from steelyard.models.generation import Answering, Manner
from steelyard.models.generation import write as answer
from steelyard.models.sharing import Prompts
from steelyard.models.torch_backend import TorchBackend
from steelyard.training.batches import Encoded

TEXT_TOKENS = 256  # of one text at most: it is written token by token. Source: ours
ROWS_AT_ONCE = 32


def num_texts(share: float, read: Sequence[Encoded]) -> int:
    """How many texts make up about that share of all tokens, if each is as long as can be.

    >>> num_texts(0.5, [Encoded([0], [1] * 512)] * 3)
    6
    """
    tokens = sum(len(block.target) for block in read)
    return 0 if share <= 0 else max(1, round(share / (1 - share) * tokens / TEXT_TOKENS))


def write(backend: TorchBackend, count: int, *, seed: int, file: Path) -> list[Encoded]:
    """`count` texts that the base writes after the token that ends texts, or those of `file`.

    They are drawn at temperature 1, and no two of them begin with the same token; a model with
    fewer tokens writes fewer texts.
    """
    if count == 0:
        return []
    if not file.exists():
        texts = _written(backend, count, seed)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(texts), encoding="utf-8")
        partial.rename(file)
    texts = json.loads(file.read_text(encoding="utf-8"))
    return [Encoded(ids[:1], ids[1:]) for ids in texts]


def _written(backend: TorchBackend, count: int, seed: int) -> list[list[int]]:
    decoder, end = backend.loaded.decoder, backend.renderer.document_ids("")[0]
    longest = min(TEXT_TOKENS, backend.context_tokens - 1)
    sampling = Sampling(longest - 1, temperature=1.0, seed=seed)
    written: dict[int, list[int]] = {}
    with torch.inference_mode():
        decoder.switch.active = None
        firsts = _first_tokens(backend, end, count, seed)

        def done(one: Answering) -> None:
            stop = [end] if one.complete else []
            written[one.index] = [end, firsts[one.index], *one.written, *stop]

        prompts = Prompts(backend.loaded.prefixes, [[end, first] for first in firsts])
        manner = Manner(sampling, end, None, lambda _: False)
        queue = list(range(len(firsts)))
        answer(decoder, prompts, queue, manner, at_once=ROWS_AT_ONCE, done=done)
    return [written[number] for number in range(len(firsts))]


def _first_tokens(backend: TorchBackend, end: int, count: int, seed: int) -> list[int]:
    """Drawn without replacement: rows of the same tokens would be given the same chance."""
    decoder = backend.loaded.decoder
    start, device = [end], decoder.device
    attend = WholeRows(0, Packing([1], device), decoder.head.weight)
    hidden = decoder(
        torch.tensor(start, device=device), torch.zeros(1, device=device).long(), attend
    )
    chances = torch.softmax(decoder.logits(hidden)[0], dim=-1).cpu()
    chances[end] = 0.0
    chance = torch.Generator().manual_seed(seed)
    count = min(count, int((chances > 0).sum()))
    drawn: list[int] = torch.multinomial(chances, count, generator=chance).tolist()
    return drawn

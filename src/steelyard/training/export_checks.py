"""Whether an exported model says what the trained one says.

Both are asked what follows the same tokens, at places inside answers of the task. Compared are the
natural-log probabilities of the ten tokens that the trained model finds likeliest: the mean
distance over places and tokens.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steelyard.models.hub import only_cached
from steelyard.models.llama_server import llama_server
from steelyard.models.loading import weights_folder
from steelyard.models.places import locate
from steelyard.models.reading import next_log_probs
from steelyard.models.torch_backend import TorchBackend
from steelyard.training.export import refuse_other_base, write_gguf

TOP = 10
PLACES = 32  # each is a request to llama.cpp. Source: ours
ASKED = 200  # of the likeliest tokens there, so that ours are among them
CONTEXT_TOKENS = 8192  # of the check's llama.cpp, or fewer
# The largest distance that passes. Source: ours, docs/log/2026-11-26-head-and-export.md
TOLERANCES = {"transformers": 0.2, "peft": 0.2, "f16": 0.2, "q8_0": 0.3, "adapter": 0.35}


@dataclass(frozen=True)
class Check:
    """One comparison of an exported model. `distance` None: it was not made, and why.

    `tolerance` is the largest mean distance that passes.
    """

    by: str
    distance: float | None
    tolerance: float
    why: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the comparison was made and the distance is small enough."""
        return self.distance is not None and self.distance <= self.tolerance

    def __str__(self) -> str:
        if self.distance is None:
            return f"not checked by {self.by}: {self.why}"
        verb = "is within" if self.passed else "is beyond"
        return f"{self.by}: {self.distance:.4f} {verb} the tolerance of {self.tolerance:g}"


@dataclass(frozen=True)
class Row:
    """A prompt and the answer that the task wants after it, as the trained model renders them."""

    text: str
    prompt: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        """All tokens whose next one is asked for, and those before."""
        return [*self.prompt, *self.answer[:-1]]


def check(
    backend: TorchBackend, format: str, exported: Path, rows: Sequence[Row]
) -> tuple[Check, ...]:
    """Compare an export with the model in `backend` by all that can read it.

    Raises:
        StoreError: the export carries the hash of another base.
    """
    refuse_other_base(exported, backend.base)
    rows = _few(rows)
    with backend.speaking():
        given = [(row.ids, len(row.prompt) - 1) for row in rows]
        found = dict(next_log_probs(backend.loaded.decoder, given))
    wanted = [found[number].cpu() for number in range(len(rows))]
    if format == "peft":
        return (_by_peft(backend, exported, rows, wanted),)
    if format == "merged":
        return (_by_transformers(exported, rows, wanted),)
    with tempfile.TemporaryDirectory() as folder:
        if format == "gguf-adapter":
            return _by_llama(_base_gguf(backend, Path(folder)), exported, rows, wanted)
        return _by_llama(exported, None, rows, wanted)


def distance(wanted: Tensor, found: Tensor) -> float:
    """The mean distance of what two models say of the likeliest tokens of the first.

    Shapes: [M, V] each. Units: nats.
    """
    top = wanted.topk(min(TOP, wanted.shape[1]), dim=1)
    return float((found.gather(1, top.indices) - top.values).abs().mean())


def _few(rows: Sequence[Row]) -> list[Row]:
    """The first rows, as far as there are places to ask at."""
    kept: list[Row] = []
    left = PLACES
    for row in rows:
        if left <= 0:
            break
        kept.append(Row(row.text, row.prompt, row.answer[:left]))
        left -= len(kept[-1].answer)
    return kept


def _by_transformers(folder: Path, rows: Sequence[Row], wanted: Sequence[Tensor]) -> Check:
    model = _plain(folder)
    return Check("transformers", _compared(model, rows, wanted), TOLERANCES["transformers"])


def _by_peft(
    backend: TorchBackend, folder: Path, rows: Sequence[Row], wanted: Sequence[Tensor]
) -> Check:
    tolerance = TOLERANCES["peft"]
    if importlib.util.find_spec("peft") is None:
        return Check("peft", None, tolerance, "peft is not installed: pip install peft")
    import peft

    model = peft.PeftModel.from_pretrained(_plain(weights_folder(backend.source)), folder)
    return Check("peft", _compared(model.eval(), rows, wanted), tolerance)


def _plain(folder: Path | str) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="auto",
        trust_remote_code=False,
        local_files_only=only_cached(str(folder)),
        use_safetensors=True,
    )
    return model.eval()


def _compared(model: Any, rows: Sequence[Row], wanted: Sequence[Tensor]) -> float:
    parts = []
    with torch.inference_mode():
        for row in rows:
            logits = model(torch.tensor([row.ids])).logits[0, len(row.prompt) - 1 :]
            parts.append(torch.log_softmax(logits.float(), dim=-1))
    return distance(torch.cat(list(wanted)), torch.cat(parts))


def _by_llama(
    model: Path, adapter: Path | None, rows: Sequence[Row], wanted: Sequence[Tensor]
) -> tuple[Check, ...]:
    kind = "q8_0" if model.stem.endswith("q8_0") else "adapter" if adapter else "f16"
    tolerance = TOLERANCES[kind]
    if importlib.util.find_spec("xllamacpp") is None:
        why = "llama.cpp is not installed: pip install 'steelyard[llama]'"
        return (Check("llama.cpp", None, tolerance, why),)
    longest = max(len(row.ids) for row in rows) + 8
    parts = []
    with llama_server(model, adapter, context_tokens=min(longest, CONTEXT_TOKENS)) as server:
        for row, own in zip(rows, wanted, strict=True):
            for place in range(len(own)):
                said = server.next_log_probs(row.ids[: len(row.prompt) + place], ASKED)
                part = torch.full_like(own[place], min(said.values()))
                part[list(said)] = torch.tensor(list(said.values()))
                parts.append(part)
        differing = [row for row in rows if server.tokens(row.text) != row.prompt]
    whole = torch.cat(list(wanted))
    return (
        Check("llama.cpp", distance(whole, torch.stack(parts)), tolerance),
        Check("llama.cpp, prompts cut otherwise", len(differing) / len(rows), 0.0),
    )


def _base_gguf(backend: TorchBackend, folder: Path) -> Path:
    """The base as GGUF: its own file, or one written for the check."""
    place = Path(locate(backend.source))
    if place.suffix == ".gguf":
        return place
    plain = TorchBackend(backend.source, backend.loaded, memory_bytes=backend.memory_bytes)
    return write_gguf(plain, folder / "base-f16.gguf", "f16")

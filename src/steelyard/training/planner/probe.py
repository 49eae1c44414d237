"""How fast this machine trains: twenty steps of the real training child, remembered."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from steelyard.core import ModelSpec, Weights, digest
from steelyard.models import Backend, Message, open_backend
from steelyard.models.processor import processor_name
from steelyard.training.job import Job, Progress, TrainingRow
from steelyard.training.planner.fitting import smallest
from steelyard.training.run import POLL_SECONDS, train_in_child

STEPS = 20
SECONDS = 600  # a machine that is slower than that is told by fewer tokens


def probed_speed(spec: ModelSpec, *, seq: int, rank: int, folder: Path) -> float:
    """Tokens a second, training adapters on rows of `seq` tokens, one row a step.

    Kept in `folder`, named by the machine, the model and what was asked.

    Raises:
        ModelError: the model is not there.
        TrainingError: the training child failed.
    """
    machine = f"{os.cpu_count()} × {processor_name()}"
    asked = {"machine": machine, "model": spec.source, "seq": seq, "rank": rank}
    file = folder / f"{digest(asked)[:16]}.json"
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["tokens_per_second"])
    except (OSError, ValueError, KeyError):
        pass  # never measured, or not whole: measure
    speed = _measure(spec, seq=seq, rank=rank)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**asked, "tokens_per_second": speed}), encoding="utf-8")
    return speed


def _measure(spec: ModelSpec, *, seq: int, rank: int) -> float:
    backend = open_backend(spec)
    row, tokens = probe_row(backend, seq)
    weights = Weights(method="lora", rank=rank, alpha=2 * rank, epochs=1, batch_size=1)
    job = Job(spec, backend.fingerprint, weights, 0, (row,) * STEPS)
    seen: dict[int, float] = {}

    def note(progress: Progress) -> None:
        seen.setdefault(progress.step, time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        train_in_child(job, Path(folder), log=note, deadline=time.monotonic() + SECONDS)
    first, last = min(seen), max(seen)  # the first step pays for what is set up once
    return tokens * (last - first) / max(seen[last] - seen[first], POLL_SECONDS)


def probe_row(backend: Backend, seq: int) -> tuple[TrainingRow, int]:
    """A row of about `seq` tokens, half of them learned, and how many there are."""
    seq = min(seq, backend.context_tokens)

    def prompt(words: int) -> tuple[Message, ...]:
        return (Message("user", " ".join(["word"] * words)),)

    def target(words: int) -> str:
        return " ".join(["word"] * words)

    asks = smallest(lambda n: backend.count_tokens(prompt(n)) >= seq // 2, seq) or 1
    prompt_tokens = backend.count_tokens(prompt(asks))
    rest = max(1, seq - prompt_tokens)
    says = smallest(lambda n: backend.count_target_tokens(target(n)) >= rest, rest) or 1
    tokens = prompt_tokens + backend.count_target_tokens(target(says))
    return TrainingRow(prompt(asks), target(says), "probe"), tokens

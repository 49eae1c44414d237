"""What the training child does with a `ScratchJob`: tokenizer, course, model, loop."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from steelyard.core import Json, Weights
from steelyard.errors import TrainingError
from steelyard.models.decoder import Decoder
from steelyard.models.loading import number_type
from steelyard.models.opening import open_folder
from steelyard.models.render import Renderer
from steelyard.training import batches, documents, loop
from steelyard.training.batches import Encoded
from steelyard.training.job import Progress
from steelyard.training.learner import Whole
from steelyard.training.objective import Examples, Lesson, Pace, mean_loss
from steelyard.training.optimizers import Muon, Several
from steelyard.training.ranks import ALONE
from steelyard.training.scratch import choices
from steelyard.training.scratch.choices import BLOCK_TOKENS, Course, Shape
from steelyard.training.scratch.job import COURSE_FILE, ScratchJob, corpus_bytes
from steelyard.training.scratch.making import fresh_model, learn_tokenizer, whole_folder
from steelyard.training.step import backward

PROBE_STEPS = 3  # measured; one before them pays for what is set up once


class Fresh(Whole):
    """All weights, from nothing: the layers' matrices by Muon, the rest by AdamW."""

    def optimizer(self, weights: Weights) -> Any:
        matrices = {n: p for n, p in self.exact.items() if p.ndim == 2 and ".layers." in n[0]}
        rest = [p for n, p in self.exact.items() if n not in matrices]
        heights = [self._rows(names, part) for names, part in matrices.items()]
        muon = Muon(list(matrices.values()), heights, lr=choices.MATRIX_RATE)
        muon.param_groups[0]["peak"] = choices.MATRIX_RATE
        adamw = torch.optim.AdamW(
            rest, lr=weights.peak_learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        return Several(muon, adamw)


def train(folder: Path, result: Path, log: Callable[[Progress], None]) -> Json:
    """Leave a trained model in `result`, and return its learning curve.

    Raises:
        TrainingError: there is not enough text, or not enough time.
    """
    began = time.monotonic()
    job = ScratchJob.read(folder)
    renderer = Renderer(AutoTokenizer.from_pretrained(_tokenizer(job, folder)))
    rows = documents.read(job.documents, renderer, BLOCK_TOKENS + 1)
    held_out = windows(job.held_out, renderer)
    if sum(len(row.target) for row in rows) < BLOCK_TOKENS:
        raise TrainingError(
            f"the documents have {sum(len(row.target) for row in rows)} tokens, fewer than one "
            f"block of {BLOCK_TOKENS}; add documents"
        )
    course = _course(job, renderer, rows, held_out, folder=folder, began=began)
    base = whole_folder(folder / "fresh", lambda to: _save_fresh(course.shape, job, renderer, to))
    loaded = open_folder(base)
    learning = Fresh(loaded.decoder, ALONE)
    batches.fit_memory(loaded.decoder, [*rows, *held_out], job.memory_gb)
    looked_at = _some(held_out, course)
    pace = Pace(course.num_steps, course.every, choices.FLOOR, choices.BETTER)
    state = loop.train(
        learning,
        Lesson(Examples(), rows, looked_at, pace),
        weights=_weights(course),
        seed=job.seed,
        folder=folder / "checkpoints",
        log=log,
    )
    loss = mean_loss(Examples(), loaded.decoder, held_out)
    learning.save(result, loaded)
    return {
        "stage": "scratch",
        "points": state.points,
        "best_step": state.best_step,
        "stopped": state.stopped,
        "trouble": state.trouble,
        "halved": state.halved,
        "num_rows": len(rows),
        "num_held_out": len(looked_at),
        "held_out_loss": loss,
        "held_out_tokens": sum(len(row.target) for row in held_out),
        "held_out_bytes": corpus_bytes(job.held_out),
    }


def windows(texts: Sequence[str], renderer: Renderer) -> list[Encoded]:
    """Blocks whose first half is there to be read: every token is foretold once, and from at least
    half a block before it unless its text begins there.

    text     ■ The mill was built in 1888 by Ott . ■
    prompt   ■                        The mill was built
    target     The mill was built                        in 1888 by Ott
    """
    half = BLOCK_TOKENS // 2
    found = []
    for text in texts:
        ids = renderer.document_ids(text)
        for start in range(1, len(ids), half):
            before = ids[max(0, start - half) : start]
            found.append(Encoded(before, ids[start : start + half]))
    return found


def _tokenizer(job: ScratchJob, folder: Path) -> Path:
    def write(to: Path) -> None:
        wanted = choices.vocabulary_of(corpus_bytes(job.documents))
        learn_tokenizer(job.documents, wanted).save_pretrained(to)

    return whole_folder(folder / "tokenizer", write)


def _save_fresh(shape: Shape, job: ScratchJob, renderer: Renderer, to: Path) -> None:
    end = renderer.end_token_id
    fresh_model(shape, end=end, seed=job.seed, dtype=number_type()).save_pretrained(to)
    renderer.tokenizer.save_pretrained(to)


def _weights(course: Course) -> Weights:
    """The loop's numbers. It never stops early: the steps are what the minutes pay for."""
    return Weights(
        "full",
        learning_rate=choices.REST_RATE,
        batch_size=course.batch_rows,
        warmup_share=choices.WARMUP_SHARE,
        patience=choices.MOST_EPOCHS + 1,
    )


# ---------------------------------------------------------------- how large, how long


def _some(held_out: Sequence[Encoded], course: Course) -> Sequence[Encoded]:
    """Blocks from all over the held-out text, few enough to be looked at often."""
    looks = -(-course.num_steps // course.every)
    wanted = choices.num_looked_at(course.epochs * course.corpus_tokens, looks)
    return held_out[:: -(-len(held_out) // wanted)]


def _course(
    job: ScratchJob,
    renderer: Renderer,
    rows: Sequence[Encoded],
    held_out: Sequence[Encoded],
    *,
    folder: Path,
    began: float,
) -> Course:
    """What was chosen when the job first ran: speeds change, and a job must end as it began."""
    file = folder / COURSE_FILE
    if file.is_file():
        return Course.from_json(json.loads(file.read_text(encoding="utf-8")))
    vocabulary = len(renderer.tokenizer)
    corpus_tokens = sum(len(row.target) for row in rows)
    chosen: Course | None = None
    for layers in [job.layers] if job.layers else choices.SIZES:
        shape = Shape(layers, vocabulary)
        speed = _speed(shape, job, rows, chosen)
        last_look = sum(map(len, held_out)) * choices.FORWARD_SHARE / speed
        course = choices.course_of(
            shape,
            given=job.layers is not None,
            seconds=60 * job.minutes - (time.monotonic() - began) - last_look,
            tokens_per_second=speed,
            corpus_tokens=corpus_tokens,
            num_blocks=len(rows),
        )
        tokens = course.epochs * corpus_tokens
        if chosen is not None and not choices.is_worth(shape, tokens):
            break
        chosen = course
    assert chosen is not None
    if chosen.num_steps < choices.FEWEST_STEPS:
        raise TrainingError(
            f"--minutes {job.minutes:g}: at {chosen.tokens_per_second:,.0f} tokens a second that "
            f"is {chosen.num_steps} steps of {chosen.batch_rows} blocks; expected at least "
            f"{choices.FEWEST_STEPS}. Give it more minutes, more documents or a smaller --size"
        )
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(chosen.to_json()), encoding="utf-8")
    partial.rename(file)
    return chosen


def _speed(shape: Shape, job: ScratchJob, rows: Sequence[Encoded], before: Course | None) -> float:
    """Tokens a second, of a few real steps."""
    batch_rows = min(before.batch_rows if before else 8, len(rows))
    weights = replace(Weights("full"), learning_rate=choices.REST_RATE)
    model = fresh_model(shape, end=0, seed=job.seed, dtype=number_type())
    if torch.cuda.is_available():
        model = model.to("cuda")
    learning = Fresh(Decoder(model), ALONE)
    batches.fit_memory(learning.decoder, rows, job.memory_gb)
    optimizer = learning.optimizer(weights)
    tokens, started = 0, 0.0
    for step in range(1 + PROBE_STEPS):
        if step == 1:
            started = time.perf_counter()
        order = batches.rows_of_step(len(rows), batch_rows, step, job.seed)
        chosen = [rows[place] for place in order]
        backward(learning.decoder, Examples(), chosen)
        optimizer.step()
        optimizer.zero_grad()
        learning.stepped()
        tokens += sum(len(row.target) for row in chosen) if step else 0
    return tokens / (time.perf_counter() - started)

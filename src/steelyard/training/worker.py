"""The training child: `python -m steelyard.training.worker FOLDER [SHARE]`.

Reads job.json, writes progress.jsonl, checkpoints and, last of all, result/: the weights at the
end, or after so large a share of the last stage's steps. It ends when its standard input closes:
a parent that was killed leaves no orphan behind.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from steelyard.core import Json
from steelyard.errors import SteelyardError, TrainingError
from steelyard.models import open_backend, runtime
from steelyard.models.fake import ROWS_FILE
from steelyard.models.places import is_fake
from steelyard.training.job import (
    CURVE_FILE,
    PROGRESS_FILE,
    RESULT_FOLDER,
    Job,
    Progress,
    held_out_rows,
)
from steelyard.training.scratch.job import CORPUS_FILE

_Log = Callable[[Progress], None]


def main(folder: Path, until: float = 1.0) -> int:
    """Train the job in `folder`, perhaps as one of several processes; 0 when it is done, or has
    come to the share `until`."""
    among_others = "WORLD_SIZE" in os.environ  # torchrun ends those it started itself
    if not among_others:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    leads = os.environ.get("RANK", "0") == "0"
    result = folder / f".{RESULT_FOLDER}"
    if leads:
        shutil.rmtree(result, ignore_errors=True)
        result.mkdir()
    with (folder / PROGRESS_FILE if leads else Path(os.devnull)).open("a", encoding="utf-8") as out:

        def log(progress: Progress) -> None:
            out.write(json.dumps(asdict(progress)) + "\n")
            out.flush()

        try:
            curve = _trainer(folder, until)(folder, result, log)
        except SteelyardError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    if leads:
        (result / CURVE_FILE).write_text(json.dumps(curve), encoding="utf-8")
        result.rename(folder / RESULT_FOLDER)
    return 0


def _trainer(folder: Path, until: float) -> Callable[[Path, Path, _Log], Json]:
    """What the job in the folder asks for."""
    if (folder / CORPUS_FILE).is_file():
        from steelyard.training.scratch.child import train

        return train
    job = Job.read(folder)
    return partial(_train_fake if is_fake(job.model.source) else _train_model, job, until=until)


def _train_model(job: Job, folder: Path, result: Path, log: _Log, until: float = 1.0) -> Json:
    from steelyard.models.torch_backend import TorchBackend
    from steelyard.training import batches, learner, lessons, loop
    from steelyard.training.ranks import Ranks

    ranks = Ranks.join()
    backend = open_backend(job.model)
    assert isinstance(backend, TorchBackend)
    if backend.fingerprint != job.fingerprint:
        raise TrainingError(
            f'model "{job.model.name}" changed since the job was made; weigh the task again'
        )
    stages = job.weights.learn
    folders = {stage: folder / f"{number}-{stage}" for number, stage in enumerate(stages)}
    # All of them before the first step: teacher and replay are the base as it is now.
    prepared = ranks.after_the_first(
        lambda: {stage: lessons.prepare(job, stage, backend, folders[stage]) for stage in stages}
    )
    learning = learner.begin(backend.loaded.decoder, job.weights, seed=job.seed, ranks=ranks)
    curves = []
    for stage, (lesson, counts) in prepared.items():
        every_row = [*lesson.rows, *lesson.held_out]
        batches.fit_memory(learning.decoder, every_row, job.memory_gb)
        lesson, before = lessons.begin(lesson, learning.decoder)
        if stage == stages[-1]:
            lesson = replace(lesson, until=until)
        state = loop.train(
            learning,
            lesson,
            weights=lessons.weights_of(job.weights, stage),
            seed=job.seed,
            folder=folders[stage] / "checkpoints",
            log=log,
            ranks=ranks,
        )
        told = ("points", "step", "num_steps", "best_step", "stopped", "trouble", "halved")
        known = {name: getattr(state, name) for name in told}
        curves.append({"stage": stage, **known, **counts, **before})
    learning.save(result if ranks.leads else None, backend.loaded)
    ranks.leave()
    *earlier, last = curves
    return {**last, "earlier": earlier} if earlier else last


def _train_fake(job: Job, _folder: Path, result: Path, log: _Log, until: float = 1.0) -> Json:
    """An epoch is a step; what pauses has learned the first rows alone."""
    milliseconds = int(job.model.source.partition(":")[2] or 0)
    last = job.stage_rows(job.weights.learn[-1])
    held = held_out_rows(last, job.seed)
    rows = [row for row, out in zip(last, held, strict=True) if not out]
    num_steps = job.weights.epochs
    steps = math.ceil(until * num_steps)
    for step in range(1, steps + 1):
        time.sleep(milliseconds * len(rows) / 1000)
        log(Progress(step, num_steps, float(step), 1 / step, 1 / step))
    num_rows = len(rows)
    rows = rows[: math.ceil(num_rows * steps / num_steps)]
    read = [row for row in job.rows if row.stage != job.weights.learn[-1]]
    pairs = [[row.prompt[-1].content, row.target] for row in (*rows, *read) if row.prompt]
    (result / ROWS_FILE).write_text(json.dumps(pairs), encoding="utf-8")
    points = [
        {"step": s, "epoch": float(s), "train_loss": 1 / s, "held_out_loss": 1 / s}
        for s in range(1, steps + 1)
    ]
    return {
        "stage": job.weights.learn[-1],
        "points": points,
        "step": steps,
        "num_steps": num_steps,
        "best_step": steps,
        "stopped": f"after {num_steps} epochs" if steps == num_steps else "",
        "num_rows": num_rows,
        "num_held_out": len(last) - num_rows,
        "num_too_long": 0,
    }


def _end_with_parent() -> None:
    while os.read(0, 1):  # blocks until the parent's end of the pipe is gone
        pass
    os._exit(1)


if __name__ == "__main__":
    runtime.keep_memory()
    sys.exit(main(Path(sys.argv[1]), *map(float, sys.argv[2:])))

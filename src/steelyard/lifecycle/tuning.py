"""Fine-tuning jobs of a server: a file of chats or preferences becomes an adapter that answers.

create_job ─→ queued ─→ running ─→ succeeded    the adapter is an artefact and already answers
                 │          ├────→ failed       with the reason
                 └──────────┴────→ cancelled    between two steps

A job is a row, and its rows a file, so that it survives its server: one that was running is queued
again at the next start and goes on from its last checkpoint. One runs at a time.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from steelyard.core import Json, ModelSpec, Objective, Weights
from steelyard.errors import DataError, DoesNotFitError, RequestError, SteelyardError
from steelyard.lifecycle import uploads
from steelyard.lifecycle.background import Worker
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.planning import check_room
from steelyard.models import Backend
from steelyard.recipes import trained
from steelyard.store import Artefacts, Database
from steelyard.store.files import StoredFile, new_id
from steelyard.store.tuning import ACTIVE, TuningJob
from steelyard.training import (
    BETA,
    PAIR_EPOCHS,
    Job,
    Progress,
    TrainingRow,
    held_out_rows,
    last_step,
)
from steelyard.training.chat_file import ChatFile, Form, held_out_as, read_chat_file

Method = Literal["supervised", "dpo"]
FORMS: dict[Method, Form] = {"supervised": "chats", "dpo": "preferences"}
STAGES: dict[Method, Objective] = {"supervised": "examples", "dpo": "preferences"}
CODES: dict[type[Exception], str] = {DoesNotFitError: "does_not_fit"}
WORDY = re.compile(r"[^\w.+@-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Order:
    """What a client wants: a method, files, and numbers, of which None leaves us the choice.

    `learning_rate_multiplier` is a share of what we would take.
    """

    method: Method
    training: StoredFile
    validation: StoredFile | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    beta: float | None = None
    seed: int = 0
    suffix: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def create_job(home: Home, order: Order, base: ModelSpec, backend: Backend) -> TuningJob:
    """Check an order and queue it. `backend` is the base as it is now.

    Raises:
        RequestError: a file cannot be learned from.
    """
    training = _read(home, order, order.training, "training_file")
    validation = None
    if order.validation is not None:
        validation = _read(home, order, order.validation, "validation_file")
    id = new_id("ftjob-")
    weights = _weights(order)
    rows = _rows(order, training, validation)
    beta = BETA if order.beta is None else order.beta
    job = Job(base, backend.fingerprint, weights, order.seed, rows, beta=beta)
    job.write(folder_of(home, id))
    asked: dict[str, Any] = {
        **asdict(order),
        "training": order.training.id,
        "validation": None if order.validation is None else order.validation.id,
        "base": asdict(base),
        "numbers": {
            "n_epochs": weights.epochs,
            "batch_size": weights.batch_size,
            "learning_rate_multiplier": order.learning_rate_multiplier or 1.0,
        },
        "tokens_per_epoch": _num_tokens(rows, order.seed, backend),
    }
    if order.method == "dpo":
        asked["numbers"]["beta"] = beta
    made = home.tuning.add(id, model_name(base.name, order.suffix, id), asked)
    home.tuning.tell(id, f"Created fine-tuning job: {id}")
    home.tuning.tell(
        id, f"{training.num_lines} lines of {order.training.id} can be learned from; queued"
    )
    if validation is not None and (shared := _shared(training, validation)):
        told = f"{shared} rows of the validation file are in the training file too"
        home.tuning.tell(id, told, level="warn")
    return made


def model_name(base: str, suffix: str, id: str) -> str:
    """What the tuned model is called, in the hosted API's form.

    >>> model_name("models/tiny", "my labels", "ftjob-0123456789abcdef")
    'ft:tiny:steelyard:my-labels:01234567'
    """
    plain = WORDY.sub("-", Path(base).name).strip("-") or "base"
    own = WORDY.sub("-", suffix).strip("-")
    return f"ft:{plain}:steelyard:{own}:{id.removeprefix('ftjob-')[:8]}"


def folder_of(home: Home, id: str) -> Path:
    """Where a job's rows lie until it ends."""
    return home.path / "tuning" / id


def _read(home: Home, order: Order, file: StoredFile, param: str) -> ChatFile:
    try:
        found = read_chat_file(uploads.path_of(home, file))
    except DataError as error:
        raise _refused(f"{file.id}: {error}", param) from error
    except OSError as error:  # deleted just now; the error would tell a path of the server
        raise _refused(f"{file.id}: it cannot be read any more", param) from error
    wanted = FORMS[order.method]
    if found.form != wanted:
        told = f"{file.id} holds {found.form}, and the method {order.method} learns from {wanted}"
        raise _refused(told, param)
    return found


def _refused(message: str, param: str) -> RequestError:
    return RequestError(message, code=f"invalid_{param}", param=param)


def _weights(order: Order) -> Weights:
    """As `weigh` trains, unless the order says more. Epochs that are named are all run."""
    usual = Weights("lora")
    epochs = order.epochs or (PAIR_EPOCHS if order.method == "dpo" else usual.epochs)
    return Weights(
        "lora",
        learn=(STAGES[order.method],),
        epochs=epochs,
        patience=order.epochs or usual.patience,
        batch_size=order.batch_size or usual.batch_size,
        learning_rate=usual.peak_learning_rate * (order.learning_rate_multiplier or 1.0),
    )


def _rows(order: Order, training: ChatFile, validation: ChatFile | None) -> tuple[TrainingRow, ...]:
    """The rows to learn, and those to be watched by: the validation file's.

    Without one all are learned where the epochs are named; else some are held out, which say when
    it is enough.
    """
    if validation is not None:
        return (*held_out_as(training.rows, False), *held_out_as(validation.rows, True))
    return tuple(held_out_as(training.rows, None if order.epochs is None else False))


def _num_tokens(rows: Sequence[TrainingRow], seed: int, backend: Backend) -> int:
    """The tokens of the rows that are learned."""
    sizes = [
        backend.count_tokens(row.prompt)
        + max(map(backend.count_target_tokens, filter(None, (row.target, row.rejected))))
        for row, out in zip(rows, held_out_rows(rows, seed), strict=True)
        if not out
    ]
    return sum(size for size in sizes if size <= backend.context_tokens)


def _shared(training: ChatFile, validation: ChatFile) -> int:
    learned = {(row.prompt, row.target) for row in training.rows}
    return sum((row.prompt, row.target) in learned for row in validation.rows)


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class _Place:
    """Where the weights of a job are kept, and who is told."""

    database: Database
    artefacts: Artefacts
    jobs: Path
    log: Callable[[Progress], None]
    wanted: Callable[[], bool]
    deadline: float | None = None
    until: float = 1.0


class Tuner:
    """Runs the jobs of a home folder, one at a time, in a thread of its own.

    `publish` makes the model of a job answer, before the job is said to have succeeded, and
    `take_away` ends that.
    """

    def __init__(
        self,
        home: Home,
        publish: Callable[[TuningJob, Path], None],
        take_away: Callable[[str], None],
    ) -> None:
        self._home, self._publish, self._take_away = home, publish, take_away
        self._worker: Worker[TuningJob] = Worker("tuner", self._take, self._do)

    def start(self) -> None:
        """Take up what is queued, first of all what a server that ended left unfinished."""
        for folder in folder_of(self._home, "").glob("*"):
            if self._home.tuning.find(folder.name) is None:  # it ended before there was a row
                shutil.rmtree(folder, ignore_errors=True)
        for job in self._home.tuning.all("running"):
            self._home.tuning.move(job.id, "queued")
            step = last_step(self._home.jobs / _key(folder_of(self._home, job.id)))
            place = "from its beginning" if step is None else f"from its checkpoint at step {step}"
            told = f"The server ended while this job was running; it is queued again, {place}"
            self._home.tuning.tell(job.id, told, level="warn")
        self._worker.start()

    def wake(self) -> None:
        """There is a new job."""
        self._worker.wake()

    def cancel(self, id: str) -> bool:
        """End a job that has not ended; False: it has. A running one stops within a step."""
        if not self._home.tuning.move(id, "cancelled"):
            return False
        self._home.tuning.tell(id, "The job was cancelled")
        self.wake()
        return True

    def withdraw(self, model: str) -> None:
        """Have the model of a job that succeeded answer no more."""
        for job in self._home.tuning.all("succeeded"):
            if job.model == model:
                result = {**job.result, "deleted": True}
                self._home.tuning.move(job.id, "succeeded", of=("succeeded",), result=result)
        self._take_away(model)

    def close(self, timeout_s: float) -> None:
        """End; a job that runs is left to the next start, which goes on with it."""
        self._worker.close(timeout_s)

    def _take(self) -> TuningJob | None:
        """The oldest job that waits, as it begins, or one whose end could not be written."""
        self._clear()
        for job in reversed(self._home.tuning.all(*ACTIVE)):
            if self._home.tuning.move(job.id, "running"):
                return job
        return None

    def _do(self, job: TuningJob) -> None:
        try:
            self._tune(job)
        except Exception as error:  # the job worker: this job fails
            if self._is_wanted(job):
                self._fail(job, error)

    def _tune(self, job: TuningJob) -> None:
        home = self._home
        made = Job.read(folder_of(home, job.id))
        home.tuning.tell(job.id, "Fine-tuning job started")
        longest = max(
            sum(len(m.content) for m in row.prompt) + len(row.target) for row in made.rows
        )
        check_room(made.model, made.weights, longest)
        place = _Place(
            *(home.database, home.artefacts, home.jobs),
            log=lambda progress: _tell_progress(home, job.id, progress),
            wanted=lambda: self._is_wanted(job),
        )
        folder, curve, seconds = trained(made, place)
        if curve["num_too_long"]:
            told = f"{curve['num_too_long']} rows do not fit the model's context and were left out"
            home.tuning.tell(job.id, told, level="warn")
        result = {
            "artefact": folder.name,
            "seconds": seconds,
            "curve": curve,
            "result_files": [_write_results(home, curve).id],
        }
        self._publish(job, folder)
        if home.tuning.move(job.id, "succeeded", result=result):
            home.tuning.tell(job.id, f"New fine-tuned model created: {job.model}")
            home.tuning.tell(job.id, "The job has successfully completed")
        else:  # cancelled at the last moment
            self._take_away(job.model)

    def _is_wanted(self, job: TuningJob) -> bool:
        """Whether a job is to go on now: neither it nor the server has been ended."""
        now = self._home.tuning.find(job.id)
        return not self._worker.closing and now is not None and now.status in ACTIVE

    def _fail(self, job: TuningJob, error: Exception) -> None:
        known = isinstance(error, SteelyardError)
        told = str(error) if known else f"the job failed ({type(error).__name__})"
        code = CODES.get(type(error), "training_failed" if known else "server_error")
        body: Json = {"error": {"code": code, "message": told, "param": None}}
        if self._home.tuning.move(job.id, "failed", result=body):
            self._home.tuning.tell(job.id, f"The job failed: {told}", level="error")

    def _clear(self) -> None:
        """Remove the rows of jobs that have ended, and the checkpoints that nobody goes on from."""
        home = self._home
        active = {job.id for job in home.tuning.all(*ACTIVE)}
        for job in home.tuning.all("succeeded", "failed", "cancelled"):
            folder = folder_of(home, job.id)
            if not folder.is_dir():
                continue
            key = _key(folder)
            if key and key not in {_key(folder_of(home, other)) for other in active}:
                shutil.rmtree(home.jobs / key, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)


def _key(folder: Path) -> str:
    """The name of the training of a job, or "" where its rows are gone."""
    try:
        return Job.read(folder).key
    except (OSError, ValueError, KeyError):
        return ""


def _tell_progress(home: Home, id: str, progress: Progress) -> None:
    """A line of the training as an event, once for each step and look."""
    step, of = progress.step, progress.num_steps
    data: dict[str, Json] = {"step": step, "total_steps": of, "train_loss": progress.train_loss}
    message = f"Step {step}/{of}: training loss={progress.train_loss:.2f}"
    mark = f"step {step}"
    if progress.held_out_loss is not None:
        data |= {"valid_loss": progress.held_out_loss, "full_valid_loss": progress.held_out_loss}
        message += f", validation loss={progress.held_out_loss:.2f}"
        mark = f"look {step}"
    home.tuning.tell(id, message, data=data, mark=mark)


def _write_results(home: Home, curve: dict[str, Any]) -> StoredFile:
    """The learning curve as a file that can be fetched."""
    lines = ["step,train_loss,valid_loss"]
    for point in curve["points"]:
        valid = point["held_out_loss"]
        shown = "" if valid is None else f"{valid:.5f}"
        lines.append(f"{point['step']},{point['train_loss']:.5f},{shown}")
    part = uploads.begin_upload(home)
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return uploads.keep(home, part, name="step_metrics.csv", purpose=uploads.RESULTS)

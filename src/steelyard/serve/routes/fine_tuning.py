"""`/v1/fine_tuning/jobs`: a base model learns from an uploaded file and has a new name then."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json
from steelyard.errors import RequestError
from steelyard.lifecycle.tuning import Order, create_job
from steelyard.serve import wire
from steelyard.serve.catalogue import Plain
from steelyard.serve.encoding import JsonReply
from steelyard.serve.listing import Listing, listed, unix
from steelyard.serve.routes.files import find_file
from steelyard.serve.routing import Router
from steelyard.serve.service import Service, service_of
from steelyard.store.tuning import TuningEvent, TuningJob

router = Router()

MOST_EPOCHS = 50  # as OpenAI has it
MOST_ROWS_OF_A_STEP = 256  # as OpenAI has it
MAX_MULTIPLIER = 10.0
MAX_BETA = 2.0  # as OpenAI has it
MAX_SEED = 2**31 - 1  # as OpenAI has it

Auto = Literal["auto"]
Epochs = Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
Rows = Annotated[int, Field(ge=1, le=MOST_ROWS_OF_A_STEP)]
Multiplier = Annotated[float, Field(gt=0, le=MAX_MULTIPLIER, allow_inf_nan=False)]
Beta = Annotated[float, Field(gt=0, le=MAX_BETA, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=512)]


class Hyperparameters(wire.Strict):
    """The numbers of a training; "auto" leaves one to us."""

    n_epochs: Auto | Epochs = "auto"
    batch_size: Auto | Rows = "auto"
    learning_rate_multiplier: Auto | Multiplier = "auto"


class DpoHyperparameters(Hyperparameters):
    """And how near to the base model preferences leave it."""

    beta: Auto | Beta = "auto"


class Supervised(wire.Strict):
    """Learning what the assistant says."""

    hyperparameters: Hyperparameters | None = None


class Dpo(wire.Strict):
    """Learning which of two answers is preferred."""

    hyperparameters: DpoHyperparameters | None = None


class Method(wire.Strict):
    """How to learn."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None


class JobRequest(wire.Strict):
    """What is to be learned, and by which model."""

    model: wire.Name
    training_file: wire.Name
    validation_file: wire.Name | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: str | None = Field(None, min_length=1, max_length=64)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    integrations: list[Any] | None = None
    metadata: dict[str, Text] | None = Field(None, max_length=16)


@router.post("/v1/fine_tuning/jobs", JobRequest)
async def create(asked: JobRequest, request: Request) -> Response:
    """Queue a job, its files checked; they may be deleted afterwards."""
    service = service_of(request)
    base = _base(service, asked.model)
    order = _order(service, asked)
    assert base.spec is not None, "it can be tuned"
    job = await asyncio.to_thread(create_job, service.home, order, base.spec, base.backend)
    service.tuner.wake()
    return JsonReply(_body(job))


@router.get("/v1/fine_tuning/jobs", query=Listing)
async def list_jobs(asked: Listing, request: Request) -> Response:
    """The jobs, the newest first."""
    jobs = service_of(request).home.tuning.all()
    return JsonReply(listed([_body(job) for job in jobs], asked))


@router.get("/v1/fine_tuning/jobs/{name}")
async def show(request: Request) -> Response:
    """How far a job is, and what came of it."""
    return JsonReply(_body(_find(request)))


@router.post("/v1/fine_tuning/jobs/{name}/cancel")
async def cancel(request: Request) -> Response:
    """End a job that has not ended; one that runs stops within a step."""
    service, job = service_of(request), _find(request)
    if not await asyncio.to_thread(service.tuner.cancel, job.id):
        raise RequestError(
            f"Job has already completed: {job.id}",
            code="job_already_completed",
            param="fine_tune_id",
        )
    return JsonReply(_body(_find(request)))


@router.get("/v1/fine_tuning/jobs/{name}/events", query=Listing)
async def list_events(asked: Listing, request: Request) -> Response:
    """What was told of a job, the newest first."""
    events = service_of(request).home.tuning.events(_find(request).id)
    return JsonReply(listed([_event(event) for event in events], asked))


@router.get("/v1/fine_tuning/jobs/{name}/checkpoints", query=Listing)
async def list_checkpoints(asked: Listing, request: Request) -> Response:
    """The weights that are served: those of the best step, with what was measured there."""
    return JsonReply(listed(_checkpoints(_find(request)), asked))


# ---------------------------------------------------------------- what is asked


def _base(service: Service, name: str) -> Plain:
    """The base model of a name, if it can learn.

    Raises:
        RequestError: it cannot, or there is none.
    """
    model = service.catalogue.plain.get(name)
    if model is not None and _learns(model):
        return model
    why = "is not served here"
    if model is not None:
        why = "runs elsewhere, where no weights can be learned"
        if model.spec is None:
            why = "was fine-tuned already; name its base model"
    able = [n for n, plain in service.catalogue.plain.items() if _learns(plain)]
    raise RequestError(
        f"Model {name[:100]} is not available for fine-tuning: it {why}. Base models here: "
        f"{', '.join(able) or 'none'}",
        code="model_not_available",
        param="model",
    )


def _learns(model: Plain) -> bool:
    spec = model.spec
    return spec is not None and spec.url is None and spec.engine == "torch"


def _order(service: Service, asked: JobRequest) -> Order:
    """What is wanted, as the job is made.

    Raises:
        RequestError: a file is not there, or something is asked for that cannot be done.
    """
    if asked.integrations:
        raise RequestError(
            "integrations are not served: the events and the result file of a job hold its metrics",
            code="unsupported_parameter",
            param="integrations",
        )
    method = asked.method or Method(type="supervised")
    other = {"supervised": method.dpo, "dpo": method.supervised}[method.type]
    if other is not None:
        raise RequestError(
            f'method: settings of another method than its type "{method.type}"',
            code="invalid_value",
            param="method",
        )
    numbers = _numbers(asked, method)
    return Order(
        method=method.type,
        training=_tuning_file(service, asked.training_file, "training_file"),
        validation=(
            None
            if asked.validation_file is None
            else _tuning_file(service, asked.validation_file, "validation_file")
        ),
        epochs=_given(numbers.n_epochs),
        batch_size=_given(numbers.batch_size),
        learning_rate_multiplier=_given(numbers.learning_rate_multiplier),
        beta=_given(numbers.beta) if isinstance(numbers, DpoHyperparameters) else None,
        seed=secrets.randbelow(MAX_SEED) if asked.seed is None else asked.seed,
        suffix=asked.suffix or "",
        metadata=asked.metadata or {},
    )


def _numbers(asked: JobRequest, method: Method) -> Hyperparameters:
    """Those of the method, or the older ones beside it."""
    own = method.supervised or method.dpo
    numbers = None if own is None else own.hyperparameters
    if numbers is not None and asked.hyperparameters is not None:
        raise RequestError(
            "hyperparameters are given twice, in method and beside it",
            code="invalid_value",
            param="hyperparameters",
        )
    return numbers or asked.hyperparameters or Hyperparameters()


def _given(value: Any) -> Any:
    return None if value == "auto" else value


def _tuning_file(service: Service, id: str, param: str) -> Any:
    file = find_file(service, id, param)
    if file.purpose != "fine-tune":
        raise RequestError(
            f'{file.id} was uploaded with the purpose "{file.purpose}"; expected "fine-tune"',
            code="invalid_file_purpose",
            param=param,
        )
    return file


def _find(request: Request) -> TuningJob:
    """The job of the path.

    Raises:
        RequestError: there is none.
    """
    id = request.path_params["name"]
    job = service_of(request).home.tuning.find(id)
    if job is None:
        raise RequestError(
            f"Could not find fine tune: {id[:100]}",
            status=404,
            code="fine_tune_not_found",
            param="fine_tune_id",
        )
    return job


# ---------------------------------------------------------------- what is said


def _body(job: TuningJob) -> dict[str, Json]:
    asked, result = job.asked, job.result
    done = job.status == "succeeded"
    tokens = None
    if done:
        tokens = round(asked["tokens_per_epoch"] * result["curve"]["points"][-1]["epoch"])
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "status": job.status,
        "model": asked["base"]["name"],
        "fine_tuned_model": job.model if done else None,
        "created_at": unix(job.created_at),
        "finished_at": None if job.ended_at is None else unix(job.ended_at),
        "estimated_finish": None,
        "error": result.get("error"),
        "training_file": asked["training"],
        "validation_file": asked["validation"],
        "result_files": result.get("result_files", []),
        "hyperparameters": asked["numbers"],
        "method": {"type": asked["method"], asked["method"]: {"hyperparameters": asked["numbers"]}},
        "trained_tokens": tokens,
        "seed": asked["seed"],
        "integrations": [],
        "organization_id": "steelyard",
        "metadata": asked["metadata"],
        "user_provided_suffix": asked["suffix"] or None,
    }


def _event(event: TuningEvent) -> dict[str, Json]:
    return {
        "id": f"ftevent-{event.number}",
        "object": "fine_tuning.job.event",
        "created_at": unix(event.created_at),
        "level": event.level,
        "message": event.message,
        "type": "message" if event.data is None else "metrics",
        "data": event.data or {},
    }


def _checkpoints(job: TuningJob) -> list[dict[str, Json]]:
    if job.status != "succeeded":
        return []
    assert job.ended_at is not None, "it has succeeded"
    curve = job.result["curve"]
    points = [point for point in curve["points"] if point["step"] == curve["best_step"]]
    return [
        {
            "id": f"ftckpt_{job.id.removeprefix('ftjob-')}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": unix(job.ended_at),
            "fine_tuned_model_checkpoint": job.model,
            "fine_tuning_job_id": job.id,
            "step_number": point["step"],
            "metrics": {
                "step": point["step"],
                "train_loss": point["train_loss"],
                "valid_loss": point["held_out_loss"],
                "full_valid_loss": point["held_out_loss"],
            },
        }
        for point in points
    ]

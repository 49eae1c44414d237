"""`/v1/feedback`: what a user says to an answer."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.errors import RequestError, WorkError
from steelyard.lifecycle.learning import problem
from steelyard.lifecycle.releases import Served
from steelyard.serve import wire
from steelyard.serve.encoding import JsonReply
from steelyard.serve.routing import Router
from steelyard.serve.service import Service, service_of
from steelyard.store.traffic import Feedback

router = Router()


class FeedbackRequest(wire.Strict):
    """A score in [0, 1], a better answer, a comment: at least one of them."""

    response_id: wire.Name
    score: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    correction: Any = None
    comment: str | None = Field(None, max_length=10_000)
    user: str | None = Field(None, max_length=512)


@router.post("/v1/feedback", FeedbackRequest)
async def give(asked: FeedbackRequest, request: Request) -> Response:
    """Keep it; the reply comes once it is on disk. The same said twice is kept once."""
    service = service_of(request)
    if asked.score is None and asked.correction is None and not asked.comment:
        raise RequestError("expected a score, a correction or a comment", code="no_feedback")
    await asyncio.wrap_future(service.recorder.flush())
    row = service.recorder.traffic.request(asked.response_id)
    if row is None:
        raise RequestError(
            f"no response {asked.response_id[:100]} is recorded here",
            status=404,
            code="response_not_found",
            param="response_id",
        )
    await _check_correction(service, asked, row["release"])
    key = request.scope.get("steelyard.key")
    feedback = Feedback(
        response=asked.response_id,
        score=asked.score,
        correction=asked.correction,
        comment=asked.comment,
        user=asked.user or row["user"],
        key="" if key is None else key.id,
    )
    try:
        new = await asyncio.wrap_future(service.recorder.give(feedback))
    except WorkError as error:
        raise RequestError(str(error), status=507, code="not_kept", retry_after_s=60.0) from error
    service.metrics.count("steelyard_feedback_total", "Feedback that was kept.", float(new))
    body = {"id": feedback.id, "object": "feedback", "response_id": asked.response_id, "new": new}
    return JsonReply(body)


async def _check_correction(service: Service, asked: FeedbackRequest, release: str) -> None:
    """A correction is an answer to the task.

    Raises:
        RequestError: it is not.
    """
    if asked.correction is None:
        return
    model = await service.catalogue.find(release)
    if not isinstance(model, Served):
        raise RequestError(
            f"{release} is a base model, which has no task to correct",
            code="no_task",
            param="correction",
        )
    wrong = problem(model.task, asked.correction)
    if wrong is not None:
        raise RequestError(
            f"the correction {wrong}; expected an answer as the task's targets are",
            code="invalid_correction",
            param="correction",
        )

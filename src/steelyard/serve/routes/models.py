"""`/v1/models`: what can be asked, and as what."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json
from steelyard.errors import RequestError
from steelyard.lifecycle.releases import Served
from steelyard.serve.catalogue import Embedding, Model, Plain
from steelyard.serve.encoding import JsonReply
from steelyard.serve.routing import Router
from steelyard.serve.service import service_of

router = Router()


@router.get("/v1/models")
async def list_models(request: Request) -> Response:
    """Every name that a request may give."""
    rows = service_of(request).catalogue.listed()
    return JsonReply({"object": "list", "data": [_body(*row) for row in rows]})


@router.get("/v1/models/{name}")
async def show_model(request: Request) -> Response:
    """One of them, or any version of a release."""
    catalogue, name = service_of(request).catalogue, request.path_params["name"]
    model = await catalogue.find(name)
    made = next((made for known, made, _ in catalogue.listed() if known == name), 0)
    return JsonReply(_body(name, made, model))


@router.delete("/v1/models/{name}")
async def delete_model(request: Request) -> Response:
    """Take away one that was fine-tuned here; its weights stay where they are kept."""
    service, name = service_of(request), request.path_params["name"]
    await service.catalogue.find(name)
    known = service.catalogue.plain.get(name)
    if known is None or known.spec is not None:
        raise RequestError(
            f"{name} was not fine-tuned here; expected a model whose name begins with ft:",
            code="model_not_deletable",
            param="model",
        )
    service.tuner.withdraw(name)
    return JsonReply({"id": name, "object": "model", "deleted": True})


def _body(name: str, made: int, model: Model) -> dict[str, Json]:
    body: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": made,
        "owned_by": "steelyard",
    }
    if isinstance(model, Served):
        release = model.release
        kept = {"release": release.id, "task": release.task, "recipe": release.recipe}
        body["steelyard"] = {"kind": "release", **kept, "stale": list(model.stale)}
    else:
        is_tuned = isinstance(model, Plain) and model.spec is None
        kind = "embedder" if isinstance(model, Embedding) else "tuned" if is_tuned else "base"
        body["steelyard"] = {"kind": kind}
    return body

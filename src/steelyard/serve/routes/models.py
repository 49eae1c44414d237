"""`/v1/models`: what can be asked, and as what."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from steelyard.core import Json
from steelyard.lifecycle.releases import Served
from steelyard.serve.catalogue import Embedding, Model
from steelyard.serve.routing import Router
from steelyard.serve.service import service_of

router = Router()


@router.get("/v1/models")
async def list_models(request: Request) -> Response:
    """Every name that a request may give."""
    rows = service_of(request).catalogue.listed()
    return JSONResponse({"object": "list", "data": [_body(*row) for row in rows]})


@router.get("/v1/models/{name}")
async def show_model(request: Request) -> Response:
    """One of them, or any version of a release."""
    catalogue, name = service_of(request).catalogue, request.path_params["name"]
    model = await catalogue.find(name)
    made = next((made for known, made, _ in catalogue.listed() if known == name), 0)
    return JSONResponse(_body(name, made, model))


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
        body["steelyard"] = {"kind": "embedder" if isinstance(model, Embedding) else "base"}
    return body

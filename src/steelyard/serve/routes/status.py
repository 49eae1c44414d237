"""`/health` and `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from steelyard.serve.service import service_of

router = APIRouter()
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether requests are answered; the one path that never needs a key."""
    service = service_of(request)
    ok = not service.hangs
    body = {
        "status": "ok" if ok else "the engine hangs",
        "waiting": service.engine.num_waiting,
        "lost_records": service.recorder.lost,
        "problems": len(service.catalogue.problems),
    }
    return JSONResponse(body, status_code=200 if ok else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All counts, for Prometheus."""
    return PlainTextResponse(service_of(request).metrics.text(), media_type=PROMETHEUS)

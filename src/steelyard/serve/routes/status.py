"""`/health` and `/metrics`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from steelyard.serve.encoding import JsonReply
from steelyard.serve.routing import Router
from steelyard.serve.service import service_of

router = Router()
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
        "refreshing": service.refresher.is_running,
        "refresh_failed": service.refresher.failed,
    }
    return JsonReply(body, status_code=200 if ok else 503)


@router.get("/openapi.json")
async def description(request: Request) -> Response:
    """What can be asked, and how."""
    return JsonReply(service_of(request).describe())


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All counts, for Prometheus."""
    return PlainTextResponse(service_of(request).metrics.text(), media_type=PROMETHEUS)

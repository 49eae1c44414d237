"""The application: routes, and every error in OpenAI's shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from steelyard.errors import RequestError
from steelyard.serve.gate import Gate, error_body, error_headers
from steelyard.serve.routes import ROUTERS
from steelyard.serve.service import Service, watch

TITLE = "Steelyard"


def create_app(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    app = FastAPI(title=TITLE, docs_url=None, redoc_url=None, lifespan=_lifespan)
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(RequestError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _fail)
    return Gate(app, service)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(watch(app.state.service))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _reply(error: RequestError) -> JSONResponse:
    return JSONResponse(error_body(error), status_code=error.status, headers=error_headers(error))


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return _reply(error)


async def _refuse_invalid(_request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a body, by its place."""
    assert isinstance(error, RequestValidationError)
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"][1:] if not str(part)[:1].isupper()]
    if first["type"] == "json_invalid":
        return _reply(RequestError("the body is no JSON", code="invalid_json"))
    param = ".".join(place) or None
    code = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}
    message = f"{param or 'the body'}: {first['msg']}"
    if first["type"] == "extra_forbidden":
        message = f"Unrecognized request argument supplied: {param}"
    return _reply(RequestError(message, code=code.get(first["type"], "invalid_type"), param=param))


async def _refuse_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {404: ("there is no such path", "not_found"), 405: ("not allowed here", "not_allowed")}
    message, code = known.get(error.status_code, ("the body cannot be read", "invalid_body"))
    return _reply(RequestError(message, status=error.status_code, code=code))


async def _fail(_request: Request, _error: Exception) -> JSONResponse:
    """The gate logs it: without what was asked."""
    return _reply(RequestError("the server failed", status=500, code="server_error"))

"""The application: the gate before the table of routes, and what runs beside requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache, partial

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from steelyard import __version__
from steelyard.serve.gate import Gate
from steelyard.serve.openapi import describe
from steelyard.serve.routes import ROUTES
from steelyard.serve.routing import Table, answer
from steelyard.serve.service import Service, watch


def create_app(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    service.describe = cache(partial(describe, ROUTES, __version__))
    table = Table(ROUTES)
    gate = Gate(service, table, _respond)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(service, receive, send)
        elif scope["type"] == "http":
            scope["steelyard.service"] = service
            await gate(scope, receive, send)

    return app


async def _respond(scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Have a request that passed the gate answered by its route."""
    response = await answer(scope["steelyard.route"], body, Request(scope, receive))
    await response(scope, receive, send)


async def _live(service: Service, receive: Receive, send: Send) -> None:
    """What runs beside requests, from the start of the server to its end."""
    await receive()
    works = (watch(service), service.deadlines.watch(), service.refresher.watch())
    tasks = [asyncio.create_task(work) for work in works]
    await send({"type": "lifespan.startup.complete"})
    await receive()
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await send({"type": "lifespan.shutdown.complete"})

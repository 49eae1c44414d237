"""What every request passes before a route sees it, and every reply after it.

    header caps → clean path → host → key, scope → rate → body cap, read time → route → write time

An upload is read by its route, as it comes, with caps of its own (`uploading.py`).
It is plain ASGI, so that it costs little and sees what was really sent.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from starlette.types import Message, Receive, Scope, Send

from steelyard.errors import RequestError
from steelyard.serve.routing import Table
from steelyard.serve.service import CLIENT_GONE, Service, client_left
from steelyard.store.keys import ApiKey, find_key

MAX_BODY_BYTES = 4_000_000  # a million tokens of text
MAX_HEADER_BYTES = 32_000
READ_SECONDS = 30.0  # for a whole body
CLEAN_PATH = re.compile(r"(?:/[\w.@:~+-]+)*/?", re.ASCII)
OF_ADMIN = ("/metrics", "/v1/admin", "/v1/files", "/v1/fine_tuning", "/v1/vector_stores")
SEARCH = re.compile(r"/v1/vector_stores/[^/]+/search/?")
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Respond = Callable[[Scope, bytes, Receive, Send], Awaitable[None]]
log = logging.getLogger("steelyard.serve")

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_body(error: RequestError) -> dict[str, Any]:
    """An error in OpenAI's shape.

    >>> error_body(RequestError("No such model.", status=404, code="model_not_found"))["error"]
    {'message': 'No such model.', 'type': 'invalid_request_error', 'param': None, \
'code': 'model_not_found'}
    """
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": str(error),
            "type": TYPES.get(error.status, kind),
            "param": error.param,
            "code": error.code,
        }
    }


def error_headers(error: RequestError) -> dict[str, str]:
    """When to try again, if that helps."""
    headers = {} if error.status != 401 else {"WWW-Authenticate": "Bearer"}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return headers


class Gate:
    """Lets through what is well-formed and allowed, and counts all."""

    def __init__(self, service: Service, table: Table, respond: Respond) -> None:
        self.service, self.table, self.respond = service, table, respond
        self._known = {r.path.encode() for r in table.routes if "{" not in r.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        began, sent, path = time.perf_counter(), _Sent(send), "none"
        try:
            key = self._admit(scope)
            route, scope["path_params"] = self.table.find(scope["method"], scope["path"])
            path = route.path
            scope["steelyard.key"], scope["steelyard.route"] = key, route
            body = b"" if route.upload is not None else await self._read(scope, receive)
            await self.respond(scope, body, receive, sent)
        except RequestError as error:
            await _refuse(sent, error)
        except OSError:  # a client that is gone
            sent.status = sent.status or CLIENT_GONE
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            places = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(frames[-5:]))
            # Its kind and its place, and not what it says: that may hold what was asked.
            log.error("a request failed: %s at %s", type(error).__name__, places)
            failed = RequestError("the server failed", status=500, code="server_error")
            await _refuse(sent, failed)
        finally:
            metrics = self.service.metrics
            name, help = "steelyard_requests_total", "Requests by route and status."
            metrics.count(name, help, route=path, status=str(sent.status))
            metrics.took(time.perf_counter() - began, route=path)

    def _admit(self, scope: Scope) -> ApiKey | None:
        """The key of a request that may go on.

        Raises:
            RequestError: it may not, with why.
        """
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            raise RequestError("the headers are too large", status=431, code="headers_too_large")
        if scope["raw_path"] not in self._known:
            _check_path(scope["raw_path"].decode("latin-1"))
        if scope["path"] == "/health":
            return None
        if not self.service.needs_key:
            bound = self.service.settings.host
            _check_host(headers.get(b"host", b"").decode("latin-1"), bound)
            if (origin := headers.get(b"origin")) is not None:
                _check_host(origin.decode("latin-1").rpartition("://")[2], bound)
            return None
        given = headers.get(b"authorization", b"").decode("latin-1")
        return self._check_key(given, scope_of(scope["method"], scope["path"]))

    def _check_key(self, given: str, needed: str) -> ApiKey:
        scheme, _, secret = given.partition(" ")
        key = find_key(secret.strip(), self.service.keys)
        if scheme.lower() != "bearer" or key is None:
            raise RequestError(
                "a valid API key is expected in the header Authorization: Bearer KEY",
                status=401,
                code="invalid_api_key",
            )
        if needed not in key.scopes and "admin" not in key.scopes:
            raise RequestError(
                f"the key {key.name} lacks the scope {needed}",
                status=403,
                code="insufficient_permissions",
            )
        self.service.limits.take_request(key)
        return key

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The body, whole, within its size and time.

        Raises:
            RequestError: it is too large, or too slow.
        """
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            raise too_large(MAX_BODY_BYTES)
        parts, size = [], 0
        try:
            with self.service.deadlines.within(READ_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise client_left()
                    part = message.get("body", b"")
                    size += len(part)
                    if size > MAX_BODY_BYTES:
                        raise too_large(MAX_BODY_BYTES)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise too_slow(READ_SECONDS) from None


def scope_of(method: str, path: str) -> str:
    """What a key must be allowed for a request.

    Files, their contents, what is learned from them and what is deleted are the administrator's;
    a vector store is searched by whoever may ask.
    """
    if path.startswith("/v1/feedback"):
        return "feedback"
    if method == "POST" and SEARCH.fullmatch(path):
        return "ask"
    return "admin" if method == "DELETE" or path.startswith(OF_ADMIN) else "ask"


def _check_path(raw: str) -> None:
    path = unquote(raw)
    if not CLEAN_PATH.fullmatch(path) or ".." in path or "%2f" in raw.lower():
        raise RequestError("there is no such path", status=404, code="not_found")


def _check_host(host: str, bound: str) -> None:
    """Without keys only this machine may ask: no web page under another name of it, nor, where a
    browser says from where a request comes, one from elsewhere."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name.strip("[]") not in (*LOOPBACK, bound):
        raise RequestError(
            "this server has no keys and answers requests to localhost alone",
            status=403,
            code="host_not_allowed",
        )


def too_large(most_bytes: int) -> RequestError:
    """A body is larger than it may be."""
    return RequestError(
        f"the body is larger than {most_bytes} bytes", status=413, code="body_too_large"
    )


def too_slow(seconds: float) -> RequestError:
    """A body, or the next of it, did not come in time."""
    return RequestError(
        f"the body did not come within {seconds:g} s", status=408, code="body_too_slow"
    )


class _Sent:
    """Sends, and remembers the status."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


async def _refuse(sent: _Sent, error: RequestError) -> None:
    """An error as a reply, unless there is one already or nobody to have it."""
    if sent.status:
        return
    if error.status == CLIENT_GONE:
        sent.status = CLIENT_GONE
        return
    body = json.dumps(error_body(error)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    if error.status in (408, 413):
        headers["connection"] = "close"  # the rest of the body is not wanted
    raw = [(k.encode(), v.encode()) for k, v in {**headers, **error_headers(error)}.items()]
    await sent({"type": "http.response.start", "status": error.status, "headers": raw})
    await sent({"type": "http.response.body", "body": body})

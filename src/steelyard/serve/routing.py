"""Which function answers which path, and what its body must be.

    router = Router()

    @router.post("/v1/things/{name}", Thing)
    async def make(asked: Thing, request: Request) -> Response: ...

    @router.get("/v1/things", query=Listing)
    async def show(asked: Listing, request: Request) -> Response: ...

A table instead of a framework's tree: a request costs one look-up and one validation, and the same
table writes the description of the API.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from steelyard.errors import RequestError

Handler = Callable[..., Awaitable[Response]]
H = TypeVar("H", bound=Handler)
# Of pydantic's kinds of errors, OpenAI's codes; every other kind is an invalid type.
CODES = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}


@dataclass(frozen=True, slots=True)
class Route:
    """A path, perhaps with {names} in it, and who answers it. Without a `body` it has none.

    `query` is what may stand behind the path. An `upload` is a form with a file, which its function
    reads as it comes; the model describes its fields.
    """

    method: str
    path: str
    handler: Handler
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    upload: type[BaseModel] | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the path matches: a name stands for anything without a slash."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))

    @property
    def summary(self) -> str:
        """The first line of what its function says of itself."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]


@dataclass
class Router:
    """Routes as they are declared."""

    routes: list[Route] = field(default_factory=list)

    def get(self, path: str, *, query: type[BaseModel] | None = None) -> Callable[[H], H]:
        """Declare a route without a body."""
        return self._declare("GET", path, query=query)

    def delete(self, path: str) -> Callable[[H], H]:
        """Declare a route that deletes."""
        return self._declare("DELETE", path)

    def post(self, path: str, body: type[BaseModel] | None = None) -> Callable[[H], H]:
        """Declare a route whose body is validated first."""
        return self._declare("POST", path, body=body)

    def upload(self, path: str, fields: type[BaseModel]) -> Callable[[H], H]:
        """Declare a route whose body is a form with a file."""
        return self._declare("POST", path, upload=fields)

    def _declare(self, method: str, path: str, **takes: type[BaseModel] | None) -> Callable[[H], H]:
        def declare(handler: H) -> H:
            self.routes.append(Route(method, path, handler, **takes))
            return handler

        return declare


class Table:
    """The routes of a server, found by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._plain = {(r.method, r.path): r for r in self.routes if "{" not in r.path}
        self._named = [(r.pattern, r) for r in self.routes if "{" in r.path]

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a request and the names in its path.

        Raises:
            RequestError: there is none, or not for this method.
        """
        route = self._plain.get((method, path))
        if route is not None:
            return route, {}
        for pattern, one in self._named:
            if one.method == method and (match := pattern.fullmatch(path)):
                return one, match.groupdict()
        known = {r.method for r in self.routes if r.pattern.fullmatch(path)}
        if known:
            message = f"expected {' or '.join(sorted(known))}"
            raise RequestError(message, status=405, code="not_allowed")
        message = "there is no such path; /openapi.json describes those there are"
        raise RequestError(message, status=404, code="not_found")


async def answer(route: Route, body: bytes, request: Request) -> Response:
    """Validate a body and call the function of a route.

    Raises:
        RequestError: the body is not what the route expects.
    """
    if route.body is None and route.query is None:
        return await route.handler(request)
    try:
        asked: BaseModel
        if route.body is not None:
            asked = route.body.model_validate_json(body)
        else:
            assert route.query is not None, "one of both is there"
            asked = route.query.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid(error) from None
    return await route.handler(asked, request)


def invalid(error: ValidationError) -> RequestError:
    """The first thing that is wrong with a request, by its place; what it holds is not repeated."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first: Any = min(found, key=lambda one: one["type"] != "extra_forbidden")
    if first["type"] == "json_invalid":
        return RequestError("the body is no JSON", code="invalid_json")
    place = [str(part) for part in first["loc"] if re.fullmatch(r"[a-z_]\w*|\d+", str(part))]
    param = ".".join(part for part in place if part not in ("str", "int")) or None
    message = f"{param or 'the body'}: {first['msg']}"
    if first["type"] == "extra_forbidden":
        message = f"Unrecognized request argument supplied: {param}"
    return RequestError(message, code=CODES.get(first["type"], "invalid_type"), param=param)

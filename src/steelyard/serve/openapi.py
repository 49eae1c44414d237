"""The description of the API, as OpenAPI 3.1, from the table of routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from steelyard.core import Json
from steelyard.serve.replies import REPLIES
from steelyard.serve.routing import Route

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
KINDS = {"/metrics": "text/plain", "/v1/files/{name}/content": "application/octet-stream"}
STATUSES = (400, 401, 403, 404, 405, 408, 413, 429, 431, 500, 503, 504, 507)


def describe(routes: Sequence[Route], version: str) -> dict[str, Json]:
    """The description of these routes."""
    bodies = [body for r in routes for body in (r.body, r.upload) if body is not None]
    _, definitions = models_json_schema(
        [(body, "validation") for body in bodies], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    schemas = {**definitions.get("$defs", {}), "Error": ERROR}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Steelyard", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(route: Route) -> dict[str, Json]:
    said = KINDS.get(route.path, "application/json")
    schema = REPLIES.get((route.method, route.path))
    content: dict[str, Json] = {said: {} if schema is None else {"schema": schema}}
    if route.body is not None and "stream" in route.body.model_fields:
        content["text/event-stream"] = {}
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: dict[str, Json] = {"200": {"description": "Done.", "content": content}}
    for status in STATUSES:
        responses[str(status)] = {"description": "Refused or failed.", "content": failed}
    if route.path == "/health":
        responses["503"] = {"description": "The engine hangs.", "content": content}
    operation: dict[str, Json] = {"summary": route.summary, "responses": responses}
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    if route.query is not None:
        for name, own in route.query.model_json_schema()["properties"].items():
            parameters.append({"name": name, "in": "query", "required": False, "schema": own})
    if parameters:
        operation["parameters"] = parameters
    for taken, kind in ((route.body, "application/json"), (route.upload, "multipart/form-data")):
        if taken is not None:
            body = {"$ref": f"#/components/schemas/{taken.__name__}"}
            operation["requestBody"] = {"required": True, "content": {kind: {"schema": body}}}
    return operation

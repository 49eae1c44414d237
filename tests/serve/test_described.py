"""What the API's description allows, and what it forbids, never makes the server fail, and what
comes back is as described: requests made by schemathesis, as each kind of key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers import Running
from steelyard.lifecycle import open_home

pytestmark = pytest.mark.slow  # thousands of requests

NUM_CASES = 40  # of each operation, kind of key and mode
KINDS: dict[str, tuple[str, ...]] = {
    "ask": ("ask",),
    "feedback": ("feedback",),
    "admin": ("admin",),
    "everything": ("ask", "feedback", "admin"),
    "no key": (),
}
MODELS = ("text", "json", "label", "label@1", "fake", "fake-embedder")
LIKELY = st.sampled_from([*MODELS, None, None])
# What most clients send. With every other key the server mostly refuses one of them.
USUAL = {
    *("model", "messages", "prompt", "input", "response_id", "score", "comment"),
    *("stream", "n", "stop", "seed", "temperature", "max_tokens", "user", "encoding_format"),
}


def served_by(case: Any, model: str | None, response: str) -> Any:
    """The case with a model and a response that are there: chance alone names none of them. What
    is wrong with a name on purpose stays."""
    for place in (case.body, case.path_parameters):
        for key, value in (("model", model), ("name", model), ("response_id", response)):
            if isinstance(place, dict) and _is_name(place.get(key)) and value is not None:
                place[key] = value
    return case


def usual(case: Any) -> Any:
    """The case as most clients would send it: few keys, and a question of the user at the end."""
    body = case.body
    if isinstance(body, dict):
        for key in {*body} - USUAL:
            del body[key]
        if "messages" in body:
            body["messages"].append({"role": "user", "content": "Oslo baker"})
    return case


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 256


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_makes_a_server_fail_or_say_what_is_not_described(
    home: Path, serve: Callable[..., Running], kind: str
) -> None:
    import schemathesis
    from schemathesis.specs.openapi import checks

    with open_home(home, lock=None) as opened:
        keys = {
            name: opened.keys.add(name, scopes or ("ask",))[1] for name, scopes in KINDS.items()
        }
    server = serve()
    with server.client(keys["everything"]) as client:
        asked: Any = [{"role": "user", "content": "Oslo baker"}]
        response = client.chat.completions.create(model="text", messages=asked).id
    given_key = {} if kind == "no key" else {"Authorization": f"Bearer {keys[kind]}"}
    _, described = server.get("/openapi.json", f"Authorization: Bearer {keys['everything']}")
    schema = schemathesis.openapi.from_dict(
        json.loads(described), config=schemathesis.Config(seed=1)
    )
    statuses: dict[str, set[int]] = {}

    def ask(operation: Any, mode: Any) -> None:
        @settings(max_examples=NUM_CASES, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(mode), model=LIKELY, is_usual=st.booleans())
        def each(case: Any, model: str | None, is_usual: bool) -> None:
            if is_usual and mode is schemathesis.GenerationMode.POSITIVE:
                case = usual(case)
            found = served_by(case, model, response).call(
                server.url, headers={"Authorization": "", **given_key}
            )
            statuses.setdefault(operation.label, set()).add(found.status_code)
            case.validate_response(
                found,
                checks=[
                    schemathesis.checks.not_a_server_error,
                    checks.status_code_conformance,
                    checks.content_type_conformance,
                    checks.response_headers_conformance,
                    checks.response_schema_conformance,
                    checks.negative_data_rejection,
                ],
            )

        each()

    for operation in (found.ok() for found in schema.get_all_operations()):
        ask(operation, schemathesis.GenerationMode.POSITIVE)
        if operation.body:  # a name in a path may be any text
            ask(operation, schemathesis.GenerationMode.NEGATIVE)
    reached = {label for label, found in statuses.items() if 200 in found}
    assert "GET /health" in reached
    assert ("POST /v1/chat/completions" in reached) == (kind in ("ask", "admin", "everything"))
    assert ("POST /v1/feedback" in reached) == (kind in ("feedback", "admin", "everything"))
    assert ("GET /metrics" in reached) == (kind in ("admin", "everything"))

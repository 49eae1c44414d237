"""The official client, unchanged, against a real server: every route, streaming included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from pydantic import BaseModel

from servers import Running, running
from steelyard.lifecycle import find_release, open_home, open_release
from steelyard.models.fake import FakeEmbedder
from steelyard.tasks import load_task


@pytest.fixture(scope="module")
def server(published: Path) -> Iterator[Running]:
    with running(published / "home") as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as made:
        yield made


@pytest.fixture(scope="module")
def asked(published: Path) -> Callable[[str], Any]:
    """The first dev example of a task, and what its release says to it."""

    def of(kind: str) -> Any:
        example = load_task(published / kind / "task.toml").dev[0]
        with open_home(published / "home", lock=None) as home:
            served = open_release(find_release(home, kind), home)
            return example, served.system.answer(example.input)

    return of


def user(text: Any) -> list[Any]:
    return [{"role": "user", "content": text}]


# ---------------------------------------------------------------- models


def test_the_models_are_releases_by_every_name_bases_and_the_embedder(client):
    names = {model.id for model in client.models.list()}
    assert {"text", "text@2", "text@champion", "text@previous", "fake", "fake-embedder"} <= names
    assert client.models.retrieve("json").owned_by == "steelyard"


def test_a_version_without_an_alias_is_opened_when_it_is_asked(client):
    assert client.models.retrieve("label@1").id == "label@1"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("label@7")
    assert caught.value.code == "model_not_found"
    assert "Served: " in caught.value.message


# ---------------------------------------------------------------- chats with releases


@pytest.mark.parametrize("kind", ["text", "json", "label"])
def test_a_release_answers_as_the_system_that_was_measured(client, asked, kind):
    example, answer = asked(kind)
    found = client.chat.completions.create(model=kind, messages=user(example.input))
    [choice] = found.choices
    assert choice.message.content == answer.text
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    usage = answer.usage
    assert found.usage.prompt_tokens == usage.prompt_tokens
    assert found.usage.completion_tokens == usage.completion_tokens
    assert found.usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert found.usage.prompt_tokens_details.cached_tokens == usage.cached_tokens
    assert found.model == f"{kind}@2"
    assert found.id.startswith("chatcmpl-")


@pytest.mark.parametrize("kind", ["text", "json", "label"])
def test_a_stream_holds_the_same_text_in_pieces_and_the_usage_at_its_end(client, asked, kind):
    example, answer = asked(kind)
    chunks = list(
        client.chat.completions.create(
            model=kind,
            messages=user(example.input),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(texts) == answer.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    if kind == "text":
        assert len([text for text in texts if text]) == len(answer.text.split())


def test_a_release_is_asked_the_last_message_and_says_what_it_did_not_look_at(client, asked):
    example, answer = asked("text")
    found = client.chat.completions.create(
        model="text@champion",
        messages=[{"role": "system", "content": "Shout."}, *user("before"), *user(example.input)],
        temperature=1.5,
        seed=3,
    )
    assert found.choices[0].message.content == answer.text
    said = found.model_extra["steelyard"]
    assert said["release"] == "text@2"
    assert said["ignored"] == ["messages[0]", "messages[1]", "temperature", "seed"]


def test_choices_of_a_release_are_copies_that_are_computed_once(client, asked):
    example, answer = asked("text")
    found = client.chat.completions.create(model="text", messages=user(example.input), n=3)
    assert [c.message.content for c in found.choices] == [answer.text] * 3
    assert found.usage.completion_tokens == answer.usage.completion_tokens


def test_an_answer_of_a_release_ends_at_a_stop_and_after_max_tokens(client, asked):
    example, answer = asked("text")  # such as "the baker from Oslo"
    words = answer.text.split()
    for stream in (False, True):
        cut = said(client, "text", example.input, stream=stream, max_tokens=2)
        assert cut == (" ".join(words[:2]), "length")
        stopped = said(client, "text", example.input, stream=stream, stop=[words[2], "zzz"])
        assert stopped == (" ".join(words[:2]), "stop")


def said(client: openai.OpenAI, model: str, text: str, *, stream: bool, **more: Any) -> Any:
    """The text of a chat and why it ended, streamed or whole."""
    found: Any = client.chat.completions.create(
        model=model, messages=user(text), stream=stream, **more
    )
    if not stream:
        return found.choices[0].message.content.rstrip(), found.choices[0].finish_reason
    chunks = list(found)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    return "".join(texts).rstrip(), chunks[-1].choices[0].finish_reason


class Person(BaseModel):
    """What the JSON task extracts."""

    city: str
    job: str
    years: int | None


class Other(BaseModel):
    """Something else."""

    price: float


def test_a_release_is_parsed_into_a_form_that_it_fits_and_refused_for_another(client, asked):
    example, answer = asked("json")
    found = client.chat.completions.parse(
        model="json", messages=user(example.input), response_format=Person
    )
    assert found.choices[0].message.parsed == Person(**answer.value)
    with pytest.raises(openai.BadRequestError, match="does not fit response_format") as caught:
        client.chat.completions.parse(
            model="json", messages=user(example.input), response_format=Other
        )
    assert caught.value.code == "release_form_differs"


# ---------------------------------------------------------------- chats with a base model


def test_a_base_model_goes_on_with_all_messages(client):
    found = client.chat.completions.create(
        model="fake", messages=[*user("tea"), {"role": "assistant", "content": "hot"}, *user("tea")]
    )
    assert found.choices[0].message.content == "hot"
    assert found.usage.prompt_tokens == 3


def test_a_base_model_keeps_to_a_schema_and_to_its_limits(client):
    form: Any = {
        "type": "json_schema",
        "json_schema": {"name": "p", "schema": Person.model_json_schema()},
    }
    found = client.chat.completions.create(model="fake", messages=user("x"), response_format=form)
    assert json.loads(found.choices[0].message.content) == {"city": "", "job": "", "years": 0}
    for stream in (False, True):
        assert said(client, "fake", "a b c d", stream=stream, max_tokens=2) == ("a b", "length")
        assert said(client, "fake", "a b c d", stream=stream, stop=" c") == ("a b", "stop")


def test_tokens_of_a_base_model_come_with_their_chances(client):
    found = client.chat.completions.create(
        model="fake", messages=user("a b"), logprobs=True, top_logprobs=2, n=2
    )
    assert len(found.choices) == 2
    tokens = found.choices[1].logprobs.content
    assert [token.token for token in tokens] == ["a", " b"]
    assert tokens[0].logprob == pytest.approx(-0.6931, abs=1e-3)
    assert len(tokens[0].top_logprobs) == 2
    assert found.usage.completion_tokens == 6


# ---------------------------------------------------------------- the other routes


def test_a_completion_goes_on_with_each_prompt(client, asked):
    found = client.completions.create(model="fake", prompt=["a b", "c"], logprobs=1)
    assert [choice.text for choice in found.choices] == ["a b", "c"]
    assert found.choices[0].logprobs.tokens == ["a", " b"]
    assert found.usage.prompt_tokens == 3
    example, answer = asked("text")
    of_release = client.completions.create(model="text", prompt=example.input)
    assert of_release.choices[0].text == answer.text
    chunks = client.completions.create(model="fake", prompt="a b c", stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "a b c"


def test_a_response_has_text_usage_and_status(client, asked):
    example, answer = asked("text")
    found = client.responses.create(model="text", input=example.input, instructions="Shout.")
    assert (found.output_text, found.status) == (answer.text, "completed")
    assert found.usage.input_tokens == answer.usage.prompt_tokens
    assert found.usage.input_tokens_details.cached_tokens == answer.usage.cached_tokens
    cut = client.responses.create(model="fake", input="a b c", max_output_tokens=1)
    assert (cut.output_text, cut.status) == ("a", "incomplete")
    assert cut.incomplete_details.reason == "max_output_tokens"


def test_a_streamed_response_has_the_events_that_the_client_puts_together(client, asked):
    example, answer = asked("text")
    with client.responses.stream(model="text", input=example.input) as events:
        kinds = [event.type for event in events]
        found = events.get_final_response()
    assert found.output_text == answer.text
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") == len(answer.text.split())


def test_a_response_is_parsed_into_a_form(client, asked):
    example, answer = asked("json")
    found = client.responses.parse(model="json", input=example.input, text_format=Person)
    assert found.output_parsed == Person(**answer.value)


def test_a_vector_with_numbers_that_are_none_is_an_error_and_not_null(client, monkeypatch):
    def broken(_self: Any, texts: Any) -> Any:
        return np.full((len(texts), 4), np.nan, np.float32)

    monkeypatch.setattr(FakeEmbedder, "embed", broken)
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=0).embeddings.create(model="fake-embedder", input="a")
    assert caught.value.code == "no_vector"


def test_embeddings_have_length_1_and_are_the_same_in_both_encodings(client):
    asked: dict[str, Any] = {"model": "fake-embedder", "input": ["red tea", "a cup"]}
    both = [  # the client asks for base64 when nothing is said
        client.embeddings.create(**asked, encoding_format="float"),
        client.embeddings.create(**asked),
    ]
    vectors = [[row.embedding for row in found.data] for found in both]
    assert sum(value**2 for value in vectors[0][0]) == pytest.approx(1)
    assert vectors[1] == vectors[0]
    assert both[0].usage.prompt_tokens == 4


# ---------------------------------------------------------------- what is refused


TOOLS = [{"type": "function", "function": {"name": "f"}}]
NO_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}}
NOBODY_ASKS = [{"role": "system", "content": "x"}]
PICTURE: Any = [{"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"model": "nobody"}, "model_not_found", "model"),
        ({"model": "fake-embedder"}, "model_not_supported", "model"),
        ({"max_tokens": 10**9}, "context_length_exceeded", "max_tokens"),
        ({"messages": user("why " * 3000)}, "context_length_exceeded", "messages"),
        ({"messages": user("")[:0]}, "invalid_type", "messages"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"n": 1000}, "invalid_type", "n"),
        ({"extra_body": {"colour": "red"}}, "unknown_parameter", "colour"),
        ({"logit_bias": {"1": 5}}, "unsupported_parameter", "logit_bias"),
        ({"tools": TOOLS}, "unsupported_parameter", "tools"),
        ({"response_format": NO_SCHEMA}, "invalid_schema", "response_format"),
        ({"model": "text", "logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"model": "text", "messages": NOBODY_ASKS}, "no_input", "messages"),
        ({"messages": user(PICTURE)}, "unsupported_content", "messages[0].content"),
    ],
)
def test_a_request_that_cannot_be_answered_names_the_parameter(client, changes, code, param):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**{"model": "fake", "messages": user("x")} | changes)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.status_code == (404 if code == "model_not_found" else 400)
    assert caught.value.type == "invalid_request_error"


def test_an_input_too_long_for_a_release_is_a_request_error_streamed_or_not(client):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="text", messages=user("why " * 3000), stream=stream
            )
        assert caught.value.code == "context_length_exceeded"

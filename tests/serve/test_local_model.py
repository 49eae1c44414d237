"""A model that runs here, behind the server: streams, chances, schemas, many at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from servers import Running, running
from steelyard.models import Message, Sampling
from steelyard.serve.service import Settings

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def server(published: Path, tiny_folder: Path) -> Iterator[Running]:
    with running(published / "home", Settings(bases=(str(tiny_folder),))) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as made:
        yield made


def ask(client: openai.OpenAI, model: Path, text: str = "card lost", **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    options = {"max_tokens": 12, "temperature": 0} | more
    return client.chat.completions.create(model=str(model), messages=messages, **options)


def test_a_stream_and_a_whole_answer_are_what_the_backend_writes(server, client, tiny_folder):
    backend = server.service.catalogue.plain[str(tiny_folder)].backend
    [written] = backend.generate([(Message("user", "card lost"),)], Sampling(12))
    whole = ask(client, tiny_folder)
    assert whole.choices[0].message.content == written.text
    assert whole.usage.prompt_tokens == written.usage.prompt_tokens
    assert whole.usage.completion_tokens == written.usage.completion_tokens
    chunks = list(ask(client, tiny_folder, stream=True))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(texts) == written.text
    assert len([text for text in texts if text]) > 1


def test_a_seed_gives_the_same_sample_and_choices_differ(client, tiny_folder):
    sampled = {"temperature": 1.5, "seed": 3, "n": 4}
    first, second = (ask(client, tiny_folder, **sampled) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert len(set(texts)) > 1


def test_chances_of_tokens_come_streamed_and_whole(client, tiny_folder):
    asked = {"logprobs": True, "top_logprobs": 2}
    whole = ask(client, tiny_folder, **asked).choices[0].logprobs.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in whole)
    last = list(ask(client, tiny_folder, stream=True, **asked))[-1].choices[0].logprobs.content
    assert [token.logprob for token in last] == pytest.approx([t.logprob for t in whole], abs=1e-3)


def test_a_schema_is_kept_to_and_one_that_cannot_be_is_refused(client, tiny_folder):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["card", "cash"]}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    found = ask(client, tiny_folder, response_format=form, max_tokens=40)
    assert json.loads(found.choices[0].message.content)["kind"] in ("card", "cash")


def test_equal_questions_at_once_have_equal_answers(server, client, tiny_folder):
    alone = ask(client, tiny_folder, "top up").choices[0].message.content
    texts: list[str] = []

    def one() -> None:
        with server.client() as own:
            texts.append(ask(own, tiny_folder, "top up").choices[0].message.content)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == [alone] * 6


def test_a_text_is_gone_on_with_without_a_chat(client, tiny_folder):
    found = client.completions.create(model=str(tiny_folder), prompt="card lost", temperature=0)
    assert found.usage.prompt_tokens == 2

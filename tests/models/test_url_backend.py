"""A model behind a URL: what is asked, what comes back, what it costs, and who is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_server import Server, chat, said, streamed, usage
from steelyard.core import ModelSpec, Usage
from steelyard.errors import ModelError, SpentError
from steelyard.models import Account, Generation, Message, Prompt, Sampling
from steelyard.models.base import LabelScorer, Reader, too_long
from steelyard.models.contracts import SCHEMA, check_backend
from steelyard.models.posting import Manners
from steelyard.models.token_counts import ByLength
from steelyard.models.url_backend import UrlBackend
from steelyard.store import Replies

PROMPT = (Message("system", "Be brief."), Message("user", "Hello?"))
SAMPLING = Sampling(max_tokens=9, temperature=0.5, seed=3)
COUNTED = ByLength().prompt(PROMPT)
PRICES = {"usd_per_1m_input": 100_000.0, "usd_per_1m_output": 1_000_000.0}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answer = lambda *_: said()
    yield server
    server.close()


def opened(server: Server, account: Account | None = None, **more: Any) -> UrlBackend:
    spec = ModelSpec("big", "big-1", url=server.url, **more)
    return UrlBackend(spec, account, manners=Manners(timeout_s=5.0, waits_s=(0.0, 0.0, 0.0)))


def hellos(number: int) -> list[Prompt]:
    return [(Message("user", f"hello {n}"),) for n in range(number)]


# ---------------------------------------------------------------- what it promises


def test_a_model_behind_a_url_keeps_the_contract(server):
    server.answer = chat
    backend = opened(server, context_tokens=500)
    check_backend(backend)
    assert not isinstance(backend, LabelScorer | Reader)


def test_a_prompt_is_sent_as_messages_and_the_text_comes_back(server):
    server.answer = lambda *_: said(usage=usage(20, 2, 16))
    assert opened(server).generate([PROMPT], SAMPLING) == [
        Generation("Hi.", usage=Usage(20, 16, 2))
    ]
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body == {
        "model": "big-1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello?"},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
        "seed": 3,
    }


def test_what_the_token_limit_ended_is_incomplete(server):
    server.answer = lambda *_: said(finish="length")
    [found] = opened(server).generate([PROMPT], SAMPLING)
    assert (found.text, found.complete, found.error) == ("Hi.", False, None)


def test_a_prompt_that_does_not_fit_is_not_sent(server):
    long = (Message("user", "why " * 100),)
    backend = opened(server, context_tokens=100)
    first, second = backend.generate([long, PROMPT], SAMPLING)
    assert first == Generation(error=too_long(backend.count_tokens(long) + 9, 100))
    assert second.text == "Hi."
    assert len(server.asked) == 1


def test_many_prompts_are_under_way_at_once_and_no_more_than_allowed(server):
    at_once = []
    under_way = set()

    def slow(number: int, body: Any) -> Any:
        under_way.add(number)
        at_once.append(len(under_way))
        time.sleep(0.02)
        under_way.discard(number)
        return said(body["messages"][0]["content"].upper())

    server.answer = slow
    spec = ModelSpec("big", "big-1", url=server.url)
    backend = UrlBackend(spec, manners=Manners(concurrency=3))
    found = backend.generate(hellos(20), SAMPLING)
    assert [one.text for one in found] == [f"HELLO {n}" for n in range(20)]
    assert max(at_once) == 3


def test_weights_cannot_be_sent_to_a_url(server):
    with pytest.raises(ModelError, match='model "big" is behind a URL'):
        opened(server).adapted(Path("lora"))


def test_another_place_model_or_context_is_another_backend(server):
    backend = opened(server)
    assert opened(server).fingerprint == backend.fingerprint
    spec = backend.spec
    for other in (
        replace(spec, url=server.url + "/x"),
        replace(spec, source="big-2"),
        replace(spec, context_tokens=77),
    ):
        assert UrlBackend(other).fingerprint != backend.fingerprint


def test_tokens_are_counted_by_the_tokenizer_that_is_named(server, tiny_folder, tiny, tmp_path):
    backend = opened(server, tokenizer=str(tiny_folder))
    assert backend.count_tokens(PROMPT) == tiny.count_tokens(PROMPT)
    assert backend.count_target_tokens("top up") == tiny.count_target_tokens("top up")
    assert opened(server).count_tokens(PROMPT) == 4 + 3 + 4 + 2  # 9 and 6 bytes
    with pytest.raises(ModelError, match=r"there is no tokenizer.json"):
        opened(server, tokenizer=str(tmp_path))


# ---------------------------------------------------------------- JSON and labels


def test_a_schema_is_asked_for_strictly_where_it_can_be(server):
    server.answer = lambda *_: said('{"kind": "card", "sure": null}')
    [found] = opened(server).generate([PROMPT], Sampling(9, SCHEMA))
    assert found.text == '{"kind": "card", "sure": null}'
    assert server.asked[0][2]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }
    loose = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}}}
    opened(server).generate([PROMPT], Sampling(9, loose))
    assert server.asked[1][2]["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize("text", ["no JSON", '{"kind": "coin", "sure": null}', "[" * 10**5])
def test_json_that_does_not_fit_its_schema_is_malformed(server, text):
    server.answer = lambda *_: said(text)
    [found] = opened(server).generate([PROMPT], Sampling(9, SCHEMA))
    assert found.text == ""
    assert found.error.startswith("the reply is malformed: JSON of the schema was asked for")
    server.answer = lambda *_: said(text, "length")
    [found] = opened(server).generate([PROMPT], Sampling(9, SCHEMA))
    assert (found.complete, found.error) == (False, None)


@pytest.mark.parametrize("text", ['{"label": "top up"}', ' "top up"\n', "top up"])
def test_a_label_is_read_in_whatever_way_a_server_writes_it(server, text):
    server.answer = lambda *_: said(text)
    [found] = opened(server).choose_labels([PROMPT], ["fee", "top up"])
    assert (found.label, found.log_prob, found.error) == (1, None, None)


@pytest.mark.parametrize("text", ["The label is fee.", '{"label": "Fee"}', '{"label": ["fee"]}'])
def test_what_is_no_label_is_malformed_and_not_a_guess(server, text):
    server.answer = lambda *_: said(text)
    [found] = opened(server).choose_labels([PROMPT], ["fee", "top up"])
    assert found.error.startswith("the reply is malformed: one of 2 labels was asked for")


# ---------------------------------------------------------------- refusals and other servers


def test_a_refusal_is_told_apart(server):
    server.answer = lambda *_: said(None, refusal="I cannot help with that.")
    [found] = opened(server).generate([PROMPT], SAMPLING)
    assert found.error == "the model refused: I cannot help with that."
    server.answer = lambda *_: said("I can", "content_filter")
    [found] = opened(server).generate([PROMPT], SAMPLING)
    assert found.error == "the model refused: a filter of the server ended the answer"


def test_a_parameter_that_the_server_does_not_take_is_left_out_from_then_on(server):
    def picky(_: int, body: Any) -> Any:
        for name in ("max_tokens", "temperature"):
            if name in body:
                error = {"message": f"Unsupported parameter: '{name}'", "param": name}
                return 400, {}, json.dumps({"error": error}).encode()
        return said(str(sorted(body)))

    server.answer = picky
    backend = opened(server)
    [found] = backend.generate([PROMPT], SAMPLING)
    assert found.text == "['max_completion_tokens', 'messages', 'model', 'seed']"
    assert len(server.asked) == 3
    backend.generate(hellos(2), SAMPLING)
    assert len(server.asked) == 5
    error = {"message": "max_tokens is too large", "param": "messages"}
    server.answer = lambda *_: (400, {}, json.dumps({"error": error}).encode())
    [found] = backend.generate([PROMPT], SAMPLING)
    assert "status 400" in found.error


# ---------------------------------------------------------------- money


def test_every_reply_is_paid_and_kept_and_a_second_run_pays_nothing(server, tmp_path):
    server.answer = lambda *_: said(usage=usage(20, 2))
    kept = Replies(tmp_path / "replies.db", "resumes")
    account = Account(kept=kept)
    first = opened(server, account, **PRICES).generate(hellos(3), SAMPLING)
    assert account.spent_usd == pytest.approx(3 * (20 * 0.1 + 2))
    kept.close()

    again = Replies(tmp_path / "replies.db", "resumes")
    account = Account(kept=again)
    assert account.spent_usd == pytest.approx(12.0)
    backend = opened(server, account, **PRICES)
    assert backend.generate(hellos(3), SAMPLING) == first
    assert len(server.asked) == 3
    backend.generate(hellos(3), replace(SAMPLING, seed=4))  # another request
    assert len(server.asked) == 6
    backend.generate(hellos(1), SAMPLING)  # a lone one, whose wait is measured
    assert len(server.asked) == 7
    assert Replies(tmp_path / "replies.db", "other").spent() == 0.0
    again.close()


def test_the_money_is_never_passed_and_what_was_paid_for_is_not_asked_again(server, tmp_path):
    server.answer = lambda *_: said(usage=usage(20, 2))  # 4 dollars
    kept = Replies(tmp_path / "replies.db", "resumes")
    account = Account(30.0, kept)
    backend = opened(server, account, **PRICES)
    with pytest.raises(SpentError, match=r"\[limits\] usd is 30: .* the next answer could cost"):
        backend.generate(hellos(50), SAMPLING)
    paid = len(server.asked)
    # An answer may cost 9 dollars for its tokens and 2.3 for at most 23 of the prompt.
    assert account.spent_usd == pytest.approx(4.0 * paid)
    assert 30 - 11.4 < account.spent_usd <= 30
    account.limit_usd = 1000.0
    assert len(backend.generate(hellos(50), SAMPLING)) == 50
    assert len(server.asked) == 50
    kept.close()


def test_money_that_is_held_back_is_there_later(server):
    account = Account(12.0)
    account.held_back_usd = 2.0
    backend = opened(server, account, **PRICES)
    with pytest.raises(SpentError, match="of which 2 are kept for the sealed test"):
        backend.generate([PROMPT], SAMPLING)
    account.held_back_usd = 0.0
    [found] = backend.generate([(Message("user", "a"),)], SAMPLING)
    assert found.text == "Hi."


def test_a_refused_request_costs_nothing_and_a_lost_reply_what_it_may_have_cost(server):
    account = Account(100.0)
    server.answer = lambda *_: (400, {}, b"no")
    opened(server, account, **PRICES).generate([PROMPT], SAMPLING)
    assert account.spent_usd == 0.0
    server.answer = lambda number, _: (200, {"X": "a"}, b"<html>") if number == 2 else said()
    opened(server, account, **PRICES).generate([PROMPT], SAMPLING)
    most = (len("Be brief.Hello?") + 32 + 2) * 0.1 + 9
    assert account.spent_usd == pytest.approx(most)


def test_a_reply_is_kept_for_models_with_prices_only(server, tmp_path):
    kept = Replies(tmp_path / "replies.db", "resumes")
    backend = opened(server, Account(kept=kept))
    for _ in range(2):
        backend.generate(hellos(2), SAMPLING)
    assert len(server.asked) == 4
    kept.close()


def test_a_reply_is_heard_as_it_comes_where_nothing_is_paid_by_the_token(server):
    server.answer = chat
    backend, heard = UrlBackend(ModelSpec("big", "big-1", url=server.url)), []
    [whole] = backend.generate([PROMPT], SAMPLING)
    [found] = backend.generate([PROMPT], SAMPLING, lambda _, text: bool(heard.append(text)))
    assert found == whole
    assert next(filter(None, heard)) == found.text.split()[0]
    body = server.asked[-1][2]
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    [cut] = backend.generate([PROMPT], SAMPLING, lambda _, text: bool(text))
    assert (cut.complete, found.text.startswith(cut.text), bool(cut.text)) == (False, True, True)
    paid = replace(backend.spec, usd_per_1m_input=1.0, usd_per_1m_output=1.0)
    UrlBackend(paid).generate([PROMPT], SAMPLING, lambda *_: False)
    assert "stream" not in server.asked[-1][2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'data: {"choices": [{"delta": {"content": "He"}}]}\n\n', "it ended before the answer"),
        (b"data: <html>\n\n", "the reply is malformed: <html>"),
        (b'data: {"error": {"message": "no GPU"}}\n\n', "no GPU"),
        (
            b'data: {"choices": [{"delta": {"refusal": "No."}, "finish_reason": "stop"}]}\n\n',
            "the model refused",
        ),
    ],
)
def test_a_stream_that_holds_no_whole_answer_is_an_error(server, content, said):
    server.answer = lambda *_: (200, {"Content-Type": "text/event-stream"}, content)
    backend = UrlBackend(ModelSpec("big", "big-1", url=server.url))
    [found] = backend.generate([PROMPT], SAMPLING, lambda *_: False)
    assert said in found.error
    assert found.text == ""


def test_a_parameter_that_is_refused_is_left_out_of_a_stream_too(server):
    def picky(number: int, body: Any) -> Any:
        if "seed" in body:
            return 400, {}, json.dumps({"error": {"param": "seed", "message": "no"}}).encode()
        return chat(number, body)

    server.answer = picky
    backend = UrlBackend(ModelSpec("big", "big-1", url=server.url))
    [found] = backend.generate([PROMPT], SAMPLING, lambda *_: False)
    assert (found.error, len(server.asked)) == (None, 2)


NAMELESS = {"error": {"message": "Unrecognized request argument supplied: stream_options"}}
PYDANTIC = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (400, json.dumps({"error": {"message": "no", "param": "stream_options"}})),
        (400, json.dumps(NAMELESS)),
        (422, json.dumps(PYDANTIC)),
        (400, 'json: unknown field "stream_options"'),
    ],
)
def test_a_server_that_refuses_stream_options_is_asked_without_them_from_then_on(
    server, status, refusal
):
    def picky(_: int, body: Any) -> Any:
        return (status, {}, refusal.encode()) if "stream_options" in body else streamed("Hi you.")

    server.answer = picky
    backend, heard = opened(server), []
    [found] = backend.generate([PROMPT], SAMPLING, lambda _, text: bool(heard.append(text)))
    own = Usage(COUNTED, 0, ByLength().text("Hi you."), estimated=True)
    assert found == Generation("Hi you.", usage=own)
    assert [text for text in dict.fromkeys(heard) if text] == ["Hi", "Hi you."]
    assert [body.get("stream_options") for _, _, body in server.asked] == [
        {"include_usage": True},
        None,
    ]
    assert server.asked[1][2]["stream"] is True
    backend.generate(hellos(3), SAMPLING, lambda *_: False)
    assert len(server.asked) == 5


def test_a_server_that_refuses_a_stream_for_another_reason_is_not_asked_twice(server):
    server.answer = lambda *_: (400, {}, b'{"error": {"message": "too long"}}')
    [found] = opened(server).generate([PROMPT], SAMPLING, lambda *_: False)
    assert ("too long" in found.error, len(server.asked)) == (True, 1)
    server.answer = lambda *_: (400, {}, b"stream_options or not")
    [found] = opened(server).generate([PROMPT], SAMPLING, lambda *_: False)
    assert ("or not" in found.error, len(server.asked)) == (True, 3)

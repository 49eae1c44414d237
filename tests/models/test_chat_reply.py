"""What a server may say in place of an answer, and what it may say about its own count."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_server import said, usage
from steelyard.core import Usage
from steelyard.models.chat_reply import BadReplyError, checked_usage, read_reply

OWN = Usage(20, 0, 4, estimated=True)


def text_of(*args: Any, **more: Any) -> str:
    return said(*args, **more)[2].decode()


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("<html><body>Bad gateway</body></html>", "a web page: <html>"),
        ("", "no JSON"),
        ('{"choices": [', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "JSON without an answer in it"),
        ("null", "JSON without an answer in it"),
        ('{"choices": []}', "JSON without an answer in it"),
        ('{"choices": [{"text": "Hi."}]}', "JSON without an answer in it"),
        ('{"choices": [{"message": "Hi."}]}', "JSON without an answer in it"),
        ('{"error": {"message": "overloaded"}}', "an error under a status that says success"),
        (text_of(None), "its content is null"),
        (text_of(["Hi."]), 'its content is \\["Hi."\\]'),
        (text_of("", "length"), "the token limit came before the first word"),
        (text_of(None, "length"), "the token limit came before the first word"),
    ],
)
def test_what_is_no_answer_is_malformed(reply, why):
    with pytest.raises(BadReplyError, match=f"^the reply is malformed: {why}"):
        read_reply(reply)


def test_an_answer_may_be_empty_and_half_a_character_is_replaced():
    assert read_reply(text_of("")).text == ""
    assert read_reply(r'{"choices": [{"message": {"content": "a\ud83d"}}]}').text == "a?"


@settings(max_examples=50)
@given(st.text())
def test_no_text_breaks_the_reader(text):
    with pytest.raises(BadReplyError):
        read_reply(text)


@settings(max_examples=50)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s)))
def test_no_content_breaks_the_reader(content):
    reply = json.dumps({"choices": [{"message": {"content": content}}]})
    if isinstance(content, str):
        assert isinstance(read_reply(reply).text, str)
    else:
        with pytest.raises(BadReplyError):
            read_reply(reply)


def checked(told: Any, text: str = "Hi.", max_tokens: int = 9) -> Usage:
    return checked_usage(told, most=60, own=OWN, text=text, max_tokens=max_tokens)


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"prompt_tokens": 20},
        usage(-1, 4),
        usage(20, -4),
        usage(20, 4, -1),
        usage(20, 4, 21),  # more cached than there are
        usage("20", 4),
        usage(20.5, 4),
        usage(True, 4),
        usage(0, 4),
        usage(1, 4),  # 20 by our own count
        usage(2000, 4),  # of 60 bytes
        usage(10**9, 4),
        usage(20, 0),  # for a text
        usage(20, 400),  # of 9 that were allowed
        {**usage(20, 4), "prompt_tokens_details": [3]},
    ],
)
def test_a_usage_that_cannot_be_true_is_counted_here(told):
    assert checked(told) == OWN


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (usage(20, 4), Usage(20, 0, 4)),
        (usage(20, 9, 16), Usage(20, 16, 9)),
        (usage(300, 4), Usage(300, 0, 4)),  # a server's own words before ours
        (usage(20, 10), Usage(20, 0, 10)),  # an end token
        ({"prompt_tokens": 20, "completion_tokens": 4}, Usage(20, 0, 4)),
        ({**usage(20, 4), "prompt_tokens_details": None}, Usage(20, 0, 4)),
    ],
)
def test_a_usage_that_can_be_true_is_taken(told, expected):
    assert checked(told) == expected


def test_a_long_text_of_hardly_any_tokens_is_not_believed():
    assert checked(usage(20, 4), text="word " * 100) == OWN

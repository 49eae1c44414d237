"""Reading what a server says: a chat completion, or something else in its place.

Three things are told apart, because they mean different things for whoever reads a verdict: a
model that *refused*, a reply that is *malformed*, and one that never came (models/posting.py).
None of them is an answer, so none has a score.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from steelyard.core import Json, Usage, cut

REFUSED = "the model refused"  # how the errors of these two kinds begin
MALFORMED = "the reply is malformed"
SHOWN_CHARACTERS = 120

# Bounds of what a usage may say. A token is at least a byte, but a server adds words of its own
# to a prompt, and a schema is read as one. Source: ours
ADDED_TOKENS = 1024
FEWEST_SHARE = 1 / 8  # of our own count
MOST_BYTES_PER_TOKEN = 64
SPARE_TOKENS = 16  # beyond max_tokens: end tokens, and what opens an answer


class BadReplyError(Exception):
    """A reply that holds no answer; its text says why, as the error of a row."""


@dataclass(frozen=True)
class Said:
    """An answer as the server gave it: its text, whether it came to its end, and its usage."""

    text: str
    complete: bool
    usage: Json


def read_reply(reply: str) -> Said:
    """The answer in a chat completion.

    Raises:
        BadReplyError: it is something else, or a refusal.
    """
    try:
        whole = json.loads(reply)
    except (ValueError, RecursionError):
        kind = "a web page" if reply.lstrip()[:1] == "<" else "no JSON"
        raise _malformed(f"{kind}: {cut(reply, SHOWN_CHARACTERS)}") from None
    if isinstance(whole, dict) and "choices" not in whole and whole.get("error"):
        raise _malformed(f"an error under a status that says success: {_shown(whole['error'])}")
    try:
        choice = whole["choices"][0]
        message, ended = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _malformed(f"JSON without an answer in it: {_shown(whole)}") from None
    if refusal:
        raise BadReplyError(f"{REFUSED}: {cut(str(refusal), SHOWN_CHARACTERS)}")
    if ended == "content_filter":
        raise BadReplyError(f"{REFUSED}: a filter of the server ended the answer")
    if ended == "length" and not text:
        raise _malformed(
            "the token limit came before the first word, as it does when a model thinks aloud"
        )
    if not isinstance(text, str):
        raise _malformed(f"its content is {_shown(text)}, where a text was expected")
    plain = text.encode(errors="replace").decode()  # half a character pair cannot be written down
    return Said(plain, ended != "length", whole.get("usage"))


def checked_usage(usage: Json, *, most: int, own: Usage, text: str, max_tokens: int) -> Usage:
    """What a server says that it counted, or `own` count where that cannot be true.

    `most` are the bytes of the prompt.
    """
    try:
        details = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens") or 0
        prompt, written = usage["prompt_tokens"], usage["completion_tokens"]
    except (AttributeError, KeyError, TypeError):
        return own
    if any(type(count) is not int for count in (prompt, cached, written)):
        return own
    size = len(text.encode())
    true = (
        max(1, own.prompt_tokens * FEWEST_SHARE) <= prompt <= most + ADDED_TOKENS
        and 0 <= cached <= prompt
        and size / MOST_BYTES_PER_TOKEN <= written <= max_tokens + SPARE_TOKENS
        and (written > 0 or not text)
    )
    return Usage(prompt, cached, written) if true else own


def _malformed(why: str) -> BadReplyError:
    return BadReplyError(f"{MALFORMED}: {why}")


def _shown(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False), SHOWN_CHARACTERS)

"""Requests as OpenAI's clients send them, and how they become questions to a model.

What a request asks for and a model cannot do is refused; what a release does not need (it answers
as it was measured, whatever temperature is sent) is named in the reply's `steelyard.ignored`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from pydantic import BaseModel, ConfigDict, Field

from steelyard.core import Json, Source, Usage
from steelyard.errors import RequestError
from steelyard.lifecycle.releases import Served
from steelyard.models import Message, Prompt, Sampling, Token
from steelyard.serve.catalogue import Plain
from steelyard.serve.texts import marks

MOST_CHOICES = 16
MOST_STOPS = 4  # as OpenAI has it
MAX_SEED = 2**63 - 1

Name = Annotated[str, Field(min_length=1, max_length=256)]
Stops = str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None


class Strict(BaseModel):
    """A part of a request; a key that is not known is an error that names it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Part(BaseModel):
    """A piece of a message. Only text is understood."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


Content = str | list[Part] | None


class Turn(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    type: Literal["message"] | None = None


class JsonSchema(BaseModel):
    """A named schema."""

    model_config = ConfigDict(populate_by_name=True)
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """The form that an answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Strict):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampled(Strict):
    """How texts are generated, in chats, completions and responses alike."""

    model: Name
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    stream: bool | None = None
    user: str | None = Field(None, max_length=512)
    metadata: dict[str, str] | None = None


class Continued(Sampled):
    """What chats and completions have and responses have not."""

    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    stop: Stops = None
    seed: int | None = Field(None, ge=-MAX_SEED, le=MAX_SEED)
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which an answer ends."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)


# ---------------------------------------------------------------- what is asked


def text_of(content: Content, param: str) -> str:
    """The text of a message.

    Raises:
        RequestError: it holds something else, such as an image.
    """
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type not in ("text", "input_text", "output_text") or part.text is None:
            raise RequestError(
                f'content of type "{part.type[:40]}" is not understood; expected text',
                code="unsupported_content",
                param=param,
            )
    return "".join(part.text or "" for part in content)


def task_input(turns: Sequence[Turn], param: str = "messages") -> tuple[str, list[str]]:
    """What a release is asked: the last message of the user, and which others it does not see.

    Raises:
        RequestError: no message is the user's, or it is empty.
    """
    places = [place for place, turn in enumerate(turns) if turn.role == "user"]
    if not places:
        raise RequestError('expected a message of role "user"', code="no_input", param=param)
    place = places[-1]
    text = text_of(turns[place].content, f"{param}[{place}].content")
    if not text.strip():
        raise RequestError("the message is empty", code="no_input", param=f"{param}[{place}]")
    return text, [f"{param}[{other}]" for other in range(len(turns)) if other != place]


def prompt_of(turns: Sequence[Turn], param: str = "messages") -> Prompt:
    """What a base model is asked: every message.

    Raises:
        RequestError: there is none, or one that is no text.
    """
    if not turns:
        raise RequestError("expected at least one message", code="no_input", param=param)
    prompt = []
    for place, turn in enumerate(turns):
        at = f"{param}[{place}]"
        if turn.role in ("tool", "function"):
            raise RequestError("tools are not served", code="unsupported_parameter", param=at)
        role = "system" if turn.role == "developer" else turn.role
        prompt.append(Message(role, text_of(turn.content, f"{at}.content")))  # type: ignore[arg-type]
    return tuple(prompt)


def sampling_of(
    asked: Sampled,
    room: int,
    *,
    max_tokens: int | None,
    schema: Mapping[str, Json] | None,
    chances: int | None,
    seed: int | None,
) -> Sampling:
    """How a base model writes; as long as there is room, unless the request says less.

    Raises:
        RequestError: there is no room for what is asked.
    """
    wanted = room if max_tokens is None else max_tokens
    if room < 1 or wanted > room:
        raise RequestError(
            f"the model's context has room for {max(room, 0)} more tokens after the prompt, and "
            f"{max(wanted, 1)} are asked for; shorten the prompt or lower max_tokens",
            code="context_length_exceeded",
            param="messages" if room < 1 else "max_tokens",
        )
    return Sampling(
        wanted,
        schema,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        chances=chances,
        top_p=1.0 if asked.top_p is None else asked.top_p,
    )


def form_schema(form: ResponseFormat | None, param: str) -> Mapping[str, Json] | None:
    """The schema that an answer must fit, if it must fit any.

    Raises:
        RequestError: it is no JSON Schema.
    """
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "object"}
    if form.json_schema is None or form.json_schema.schema_ is None:
        raise RequestError("a schema is expected", code="invalid_schema", param=param)
    schema = form.json_schema.schema_
    try:
        validator_for(schema).check_schema(schema)
    except (SchemaError, RecursionError) as error:
        message = getattr(error, "message", "it refers to itself without end")
        raise RequestError(
            f"it is no JSON Schema: {str(message)[:200]}", code="invalid_schema", param=param
        ) from None
    return schema


def refuse_unsupported(asked: Continued, *, served: bool) -> None:
    """Refuse what would change an answer and cannot be done.

    Raises:
        RequestError: naming the parameter.
    """
    for name in ("frequency_penalty", "presence_penalty", "logit_bias"):
        if getattr(asked, name) and not served:
            raise RequestError(f"{name} is not served", code="unsupported_parameter", param=name)


def ignored_by_release(asked: BaseModel) -> list[str]:
    """The parameters that were sent and that a release has no use for."""
    names = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "logit_bias")
    return [name for name in names if getattr(asked, name, None) is not None]


# ---------------------------------------------------------------- what is said


def usage_body(usage: Usage) -> dict[str, Json]:
    """The tokens of a reply, those of the prompt that were computed before among them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        **estimated(usage),
    }


def estimated(usage: Usage) -> dict[str, Json]:
    """That no engine told these numbers, and we counted; nothing where one did."""
    return {"estimated": True} if usage.estimated else {}


def token_body(token: Token) -> dict[str, Json]:
    """A token with its chances, as chats and responses have it."""
    top = [_chance(text, value) for text, value in token.top]
    return {**_chance(token.text, token.log_prob), "top_logprobs": top}


def _chance(text: str, log_prob: float) -> dict[str, Json]:
    return {"token": text, "logprob": log_prob, "bytes": list(text.encode())}


def citations(text: str, sources: Sequence[Source] | None) -> list[dict[str, Json]]:
    """What a text cites: where, and which document and passage of it."""
    found = sources or ()
    return [
        {
            "start_index": start,
            "end_index": end,
            "title": found[number - 1].document,
            "url": f"steelyard:{found[number - 1].passage}",
        }
        for start, end, number in marks(text, len(found))
    ]


def about(model: Served | Plain, ignored: Sequence[str], **more: Json) -> dict[str, Json]:
    """What we say beside OpenAI's keys: which release answered, and what it did not look at."""
    if isinstance(model, Plain):
        return {"model": model.name, "fingerprint": model.backend.fingerprint, **more}
    release = model.release
    return {
        "release": release.id,
        "recipe": release.recipe,
        "task": release.task,
        "fingerprint": model.fingerprint,
        "stale": list(model.stale),
        "ignored": list(ignored),
        **more,
    }

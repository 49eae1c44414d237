"""A base model behind OpenAI's /v1/chat/completions, asked as if it were here.

    prompt ─→ fits? ─→ kept reply? ─→ endpoint (posting.py) ─→ reply (chat_reply.py) ─→ generation
                                           │ toll (account.py)

Many prompts go out at once. A lone prompt is always asked afresh, because what a lone caller waits
for is measured; of many, those whose reply was paid for before are read from the account. Models
without prices have nothing kept: what their answers cost is the time that they take.

A label is chosen by a schema that allows the labels and nothing else, so that the server decodes
it greedily, token by token: not always the label of the largest probability, which no chat server
tells. For the same reason there are no probabilities of labels here (`LabelScorer`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from jsonschema import Draft202012Validator

from steelyard.core import Json, ModelSpec, Usage, cut, digest
from steelyard.errors import ModelError, SpentError, WorkError
from steelyard.models.account import Account, Kept, Toll
from steelyard.models.base import (
    Generation,
    LabelChoice,
    Listen,
    Message,
    Prompt,
    Sampling,
    told_whole,
    too_long,
)
from steelyard.models.chat_reply import MALFORMED, BadReplyError, Said, checked_usage, read_reply
from steelyard.models.chat_stream import ASKING, ChatStream
from steelyard.models.posting import Endpoint, Manners, StatusError
from steelyard.models.token_counts import ByLength, ByTokenizer, Counter, size_bytes

CONTEXT_TOKENS = 8_192  # no model that is served today holds less. Source: ours
MAX_REPLY_BYTES = 8_000_000
KEY = "label"  # of the object that holds a chosen label
# Tokens: the object around a label, with all the blanks that a model likes to write.
# Source: ours, see docs/log/2026-11-27-models-by-url.md
ROOM_FOR_KEY = 48
# Parameters that some servers call otherwise, or do not take from all models.
# Source: OpenAI, "Reasoning models": max_completion_tokens, and no temperature
ADAPTED = ("max_tokens", "temperature", "seed")
# With them a stream ends with its usage; without them we count ourselves. Servers refuse them in as
# many ways as they have parsers: an error without its `param`, a list of pydantic's, a plain line.
OPTIONS = "stream_options"


@dataclass(frozen=True)
class _Request:
    """What is asked, and how many tokens it has by our own count."""

    prompt: Prompt
    body: dict[str, Json]
    tokens: int
    max_tokens: int

    @property
    def most(self) -> Usage:
        """The largest usage that it can have: no token is shorter than a byte."""
        schema = len(json.dumps(self.body.get("response_format", "")))
        around = 16 * len(self.prompt)
        return Usage(size_bytes(self.prompt) + schema + around, 0, self.max_tokens)


@dataclass(frozen=True)
class _Told:
    """What came of a request: an answer with its usage, or an error."""

    said: Said | None = None
    usage: Usage = Usage()
    error: str | None = None


class UrlBackend:
    """The model of a [models.NAME] table.

    Raises:
        ModelError: its URL is none, its key is not in the environment, its tokenizer is not there.
    """

    def __init__(
        self, spec: ModelSpec, account: Account | None = None, *, manners: Manners | None = None
    ) -> None:
        assert spec.url is not None
        self.spec, self.account = spec, account or Account()
        self.source = spec.source
        self.context_tokens = spec.context_tokens or CONTEXT_TOKENS
        self.endpoint = Endpoint(
            spec.url,
            "chat/completions",
            f'an answer of "{spec.source}"',
            key_env=spec.key_env,
            manners=manners
            or Manners(
                timeout_s=spec.timeout_s,
                concurrency=spec.concurrency,
                max_reply_bytes=MAX_REPLY_BYTES,
                plain_http=spec.plain_http,
            ),
        )
        self._counter: Counter = ByTokenizer(spec.tokenizer) if spec.tokenizer else ByLength()
        self._refused_parameters: set[str] = set()

    @property
    def fingerprint(self) -> str:
        """Names the place and the model. What stands behind them may change without a word."""
        return digest(
            ["url", self.endpoint.place, self.source, self._counter.name, self.context_tokens]
        )

    def count_tokens(self, prompt: Prompt | str) -> int:
        """Tokens of the prompt, by its own tokenizer where there is one, and else estimated."""
        if isinstance(prompt, str):
            return self._counter.text(prompt)
        return self._counter.prompt(prompt)

    def count_target_tokens(self, text: str) -> int:
        """Tokens of an answer, its end token included."""
        return self._counter.text(text)

    def generate(
        self,
        prompts: Sequence[Prompt | str],
        sampling: Sampling,
        listen: Listen | None = None,
    ) -> list[Generation]:
        """One generation per prompt, in order; `listen` hears each text as it grows, where nothing
        is paid by the token, and else once it is whole.

        A plain text is asked as a message of the user: a chat server goes on with nothing else.
        The chances of tokens are not asked for.

        Raises:
            SpentError: the account has no money left for one of them; the others are kept.
        """
        more: dict[str, Json] = {"temperature": sampling.temperature, "seed": sampling.seed}
        if sampling.schema is not None:
            more["response_format"] = response_format(sampling.schema)
        if sampling.top_p < 1:
            more["top_p"] = sampling.top_p
        turns = [(Message("user", p),) if isinstance(p, str) else p for p in prompts]
        is_paid = self.spec.usd_per_1m_input is not None
        told = self._ask(turns, sampling.max_tokens, more, None if is_paid else listen)
        found = [_generation(one, sampling.schema) for one in told]
        return told_whole(found, listen)

    def choose_labels(
        self,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        prior: Sequence[float] | None = None,
    ) -> list[LabelChoice]:
        """The label that the model writes after every prompt where it may write nothing else.

        Raises:
            SpentError: the account has no money left for one of them; the others are kept.
        """
        assert prior is None, "without probabilities there is nothing to take a prior from"
        schema = {
            "type": "object",
            "properties": {KEY: {"type": "string", "enum": list(labels)}},
            "required": [KEY],
            "additionalProperties": False,
        }
        longest = max(self.count_target_tokens(json.dumps(label)) for label in labels)
        more = {"temperature": 0.0, "seed": 0, "response_format": response_format(schema)}
        told = self._ask(prompts, longest + ROOM_FOR_KEY, more)
        return [_choice(one, labels) for one in told]

    def keep(self, prompts: Sequence[Prompt]) -> None:
        """Nothing: servers keep what prompts begin with by themselves, or do not."""

    def adapted(self, folder: Path) -> UrlBackend:
        """Never: weights are learned here, and this model is elsewhere."""
        raise ModelError(
            f'model "{self.spec.name}" is behind a URL, and the weights in {folder} cannot be sent '
            "there; expected a model that is here"
        )

    def _ask(
        self,
        prompts: Sequence[Prompt],
        max_tokens: int,
        more: Mapping[str, Json],
        listen: Listen | None = None,
    ) -> list[_Told]:
        told: dict[int, _Told] = {}
        requests: dict[int, _Request] = {}
        for number, prompt in enumerate(prompts):
            tokens = self.count_tokens(prompt)
            if tokens + max_tokens > self.context_tokens:
                why = too_long(tokens + max_tokens, self.context_tokens)
                told[number] = _Told(error=why)
                continue
            messages = [asdict(message) for message in prompt]
            body = {"model": self.source, "messages": messages, "max_tokens": max_tokens, **more}
            requests[number] = _Request(prompt, body, tokens, max_tokens)
        if len(prompts) > 1:
            told |= self._known(requests)
        # Each round that goes on has found a parameter that it then leaves out.
        while missing := {n: r for n, r in requests.items() if n not in told}:
            told |= self._post(missing) if listen is None else self._stream(missing, listen)
        return [told[number] for number in range(len(prompts))]

    def _known(self, requests: Mapping[int, _Request]) -> dict[int, _Told]:
        """What was paid for before."""
        kept = self._kept
        if kept is None:
            return {}
        found = {number: kept.reply(self._name(request)) for number, request in requests.items()}
        return {
            number: self._read(reply, requests[number])
            for number, reply in found.items()
            if reply is not None
        }

    def _post(self, requests: Mapping[int, _Request]) -> dict[int, _Told]:
        """What the server says to each; nothing where it is to be asked otherwise."""
        numbers, asked = list(requests), list(requests.values())
        tolls = [Toll(self.account, self.spec, request.most) for request in asked]
        told: dict[int, _Told] = {}

        def heard(place: int, reply: bytes) -> None:
            text = reply.decode(errors="replace")
            one = told[numbers[place]] = self._read(text, asked[place])
            if one.error is not None and one.error.startswith(MALFORMED):
                tolls[place].lost()
                return
            tolls[place].pay(one.usage)
            if self._kept is not None:
                self._kept.keep(self._name(asked[place]), text)

        refused = set(self._refused_parameters)
        replies = self.endpoint.post_all([self._spelt(r.body) for r in asked], tolls, heard)
        for number, reply in zip(numbers, replies, strict=True):
            if isinstance(reply, SpentError):
                raise reply
            if isinstance(reply, WorkError) and not self._learned(reply, refused):
                told[number] = _Told(error=str(reply))
        return told

    def _stream(self, requests: Mapping[int, _Request], listen: Listen) -> dict[int, _Told]:
        """What the server says to each, heard as it comes; nothing where it is to be asked
        otherwise."""
        numbers, asked = list(requests), list(requests.values())
        streams = [ChatStream(partial(listen, number)) for number in numbers]
        refused = set(self._refused_parameters)
        failed = self.endpoint.stream_all(
            [self._spelt(request.body | ASKING) for request in asked],
            lambda place, data: streams[place].told(data),
            lambda place: streams[place].left(),
        )
        told: dict[int, _Told] = {}
        for number, request, stream, why in zip(numbers, asked, streams, failed, strict=True):
            reply = stream.whole()
            if isinstance(why, WorkError):
                if not self._learned(why, refused):
                    told[number] = _Told(error=str(why))
            elif stream.wrong is not None or reply is None:
                error = stream.wrong or f"{MALFORMED}: it ended before the answer did"
                told[number] = _Told(error=error)
            else:
                told[number] = self._read(reply, request)
        return told

    def _learned(self, error: WorkError, refused: set[str]) -> bool:
        """Whether an error says how to ask otherwise: without a parameter that was sent."""
        parameter = _refused_parameter(error) if isinstance(error, StatusError) else None
        if parameter is None or parameter in refused:
            return False
        self._refused_parameters.add(parameter)
        return True

    def _spelt(self, body: dict[str, Json]) -> dict[str, Json]:
        """A request without what the server does not take, or under the name by which it does."""
        refused = self._refused_parameters
        spelt = {key: value for key, value in body.items() if key not in refused}
        if "max_tokens" in refused:
            spelt["max_completion_tokens"] = body["max_tokens"]
        return spelt

    def _read(self, reply: str, request: _Request) -> _Told:
        own = Usage(request.tokens, 0, 0, estimated=True)
        try:
            said = read_reply(reply)
        except BadReplyError as error:
            return _Told(usage=own, error=str(error))
        written = self.count_target_tokens(said.text)
        usage = checked_usage(
            said.usage,
            most=request.most.prompt_tokens,
            own=Usage(request.tokens, 0, written, estimated=True),
            text=said.text,
            max_tokens=request.max_tokens,
        )
        return _Told(said, usage)

    @property
    def _kept(self) -> Kept | None:
        return None if self.spec.usd_per_1m_input is None else self.account.kept

    def _name(self, request: _Request) -> str:
        # In its own order: that of a schema's fields is the order in which they are written.
        return digest([self.endpoint.place, json.dumps(request.body, ensure_ascii=False)])


def response_format(schema: Mapping[str, Json]) -> Json:
    """What asks a server for JSON of a schema.

    Strictly, where the schema is of the kind that can be. Source: OpenAI, "Structured outputs"
    """
    strict = _is_strict(schema)
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": dict(schema), "strict": strict},
    }


def _is_strict(schema: Json) -> bool:
    """Whether all objects in it require all their properties and allow no others."""
    if isinstance(schema, list):
        return all(_is_strict(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        names = set(schema.get("properties", {}))
        if set(schema.get("required", ())) != names or schema.get("additionalProperties", True):
            return False
    return all(_is_strict(value) for key, value in schema.items() if key != "enum")


def _refused_parameter(error: StatusError) -> str | None:
    """Which parameter a server does not take, if that is why it said no: one of `ADAPTED`, or the
    options of a stream, for which it is enough that they are named."""
    try:
        named = json.loads(error.said)["error"]["param"]
    except (ValueError, KeyError, TypeError):
        named = None
    if error.status == 400 and named in ADAPTED:
        return str(named)
    return OPTIONS if error.status in (400, 422) and OPTIONS in error.said else None


def _generation(told: _Told, schema: Mapping[str, Json] | None) -> Generation:
    if told.said is None:
        return Generation(error=told.error, usage=told.usage)
    text, complete = told.said.text, told.said.complete
    if schema is not None and complete and not _fits(text, schema):
        shown = cut(text)
        why = f"{MALFORMED}: JSON of the schema was asked for, and it says: {shown}"
        return Generation(error=why, usage=told.usage)
    return Generation(text, complete, told.usage)


def _fits(text: str, schema: Mapping[str, Json]) -> bool:
    try:
        return bool(Draft202012Validator(schema).is_valid(json.loads(text)))
    except (ValueError, RecursionError):
        return False


def _choice(told: _Told, labels: Sequence[str]) -> LabelChoice:
    if told.said is None:
        return LabelChoice(error=told.error, usage=told.usage)
    text = told.said.text.strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text  # from a server that knows no schemas, perhaps a bare label
    if isinstance(found, dict):
        found = found.get(KEY)
    if found not in labels:
        why = f"{MALFORMED}: one of {len(labels)} labels was asked for, and it says: {cut(text)}"
        return LabelChoice(error=why, usage=told.usage)
    return LabelChoice(list(labels).index(found), None, told.usage)

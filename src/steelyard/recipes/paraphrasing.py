"""Documents said again in other words, by a model that the task names, each piece kept as it comes.

A fact that is read in one wording alone is hardly learned; with more wordings it is, the better the
more there are. Source: Ovadia et al. 2023, arXiv:2312.05934.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steelyard.core import Json, ModelSpec, Usage, digest
from steelyard.errors import TrainingError
from steelyard.models import Message, Sampling, Writer
from steelyard.recipes.workshop import Workshop

PIECE_CHARACTERS = 2000  # models that rewrite longer texts leave things out. Source: ours
PIECE_TOKENS = 2048  # of a reply; a piece has about 500
AT_ONCE = 16  # pieces
TEMPERATURE = 1.0  # other copies need other words
ORDER = (
    "Say the text below again in other words, in its own language. Keep every fact, name, number "
    "and date, and add none. Write the new text alone."
)


@dataclass(frozen=True)
class Copies:
    """Documents in other words, in their order and copy by copy, and what asking for them took."""

    texts: tuple[str, ...]
    seconds: float
    usage: Usage


def paraphrase(
    texts: Sequence[str], copies: int, *, spec: ModelSpec, writer: Writer, workshop: Workshop
) -> Copies:
    """So many copies of each text, without the pieces whose reply was cut off.

    What was written before, also by a run that was cut off, is not asked for again.

    Raises:
        TrainingError: the model failed, or the deadline passed. What it wrote is kept.
        SpentError: there is no more money for it.
    """
    made, seconds, used = [], 0.0, [0, 0, 0]
    for copy in range(copies):
        parts = [list(pieces(text)) for text in texts]
        asked = [spec.url, spec.source, workshop.seed, copy, ORDER]
        keys = {piece: f"paraphrase:{digest([*asked, piece])}" for own in parts for piece in own}
        _ask(keys, copy, writer, workshop)
        replies = {piece: workshop.database.build(key) for piece, key in keys.items()}
        for reply in replies.values():
            assert reply is not None
            seconds += reply[1]
            used = [a + b for a, b in zip(used, reply[2]["usage"], strict=True)]
        said = {piece: _text(reply[2]) for piece, reply in replies.items() if reply is not None}
        whole = ("\n\n".join(filter(None, map(said.get, own))) for own in parts)
        made += [text for text in whole if text]
    prompt, cached, completion = used
    return Copies(tuple(made), seconds, Usage(prompt, cached, completion))


def _text(details: Json) -> str:
    """What a reply says; nothing if it was cut off."""
    return str(details["text"]).strip() if details["complete"] else ""


def pieces(text: str, longest: int = PIECE_CHARACTERS) -> Iterator[str]:
    """A text in pieces of whole paragraphs, or of lines, or of words where those are too long.

    >>> list(pieces("One.\\n\\nTwo.\\n\\nThree and four.", longest=12))
    ['One.\\n\\nTwo.', 'Three and', 'four.']
    """
    rest = text.strip()
    while len(rest) > longest:
        for border in ("\n\n", "\n", " "):
            if (end := rest.rfind(border, 1, longest + 1)) > 0:
                break
        else:
            end = longest
        yield rest[:end].strip()
        rest = rest[end:].strip()
    if rest:
        yield rest


def _ask(keys: dict[str, str], copy: int, writer: Writer, workshop: Workshop) -> None:
    """Ask for each piece that has no row of that key yet, some at once, and keep what comes."""
    database = workshop.database
    missing = [piece for piece, key in keys.items() if database.build(key) is None]
    sampling = Sampling(PIECE_TOKENS, temperature=TEMPERATURE, seed=(workshop.seed + copy) % 2**31)
    for start in range(0, len(missing), AT_ONCE):
        if workshop.deadline is not None and time.monotonic() > workshop.deadline:
            raise TrainingError(
                "the time limit came before all documents were said in other words"
            ) from TimeoutError()
        some = missing[start : start + AT_ONCE]
        started = time.perf_counter()
        prompts = [(Message("user", f"{ORDER}\n\n{piece}"),) for piece in some]
        replies = writer.generate(prompts, sampling)
        each = (time.perf_counter() - started) / len(some)
        for piece, reply in zip(some, replies, strict=True):
            if reply.error is None:
                used = reply.usage
                counts = [used.prompt_tokens, used.cached_tokens, used.completion_tokens]
                details = {"text": reply.text, "complete": reply.complete, "usage": counts}
                database.add_build(keys[piece], None, each, details)
        if failed := [reply.error for reply in replies if reply.error is not None]:
            raise TrainingError(f"documents could not be said in other words: {failed[0]}")

"""Answering: rows per second of ours beside generate and llama.cpp, in turn, on the same prompts.

    python bench/answering.py            about half an hour on two cores
    python bench/answering.py --small    about three minutes, without growth
    python bench/answering.py --only json --rounds 5 --json json.json

What is asked is in works.py, what is reached for in `GOALS`. All contenders answer greedily, with
the same token limit, on as many threads as torch has. Both peers get token ids of our renderer's
making (ours renders and tokenises within its time), each as its users are told to run it:

    steelyard   `Backend.generate` and `Backend.choose_labels`, as recipes call them
    generate    Hugging Face's, hf_peer.py: same weights and precision, same process, PyTorch's
                fused attention, left-padded batches of up to 64 rows of near lengths
    llama.cpp   llama_cpp.py: the Q4_1 file that these weights come from, prefix cache kept
                between requests, slots decoded together, the best of 1 … all threads and of 4 and
                8 slots by a probe; its own process and waiting, its JSON Schema sampler for JSON

In the label work the peers write a label, up to the longest one's tokens. Ours picks the likeliest
of all 77 in the first table and writes one freely, as they do, in the second. In the JSON work
ours and llama.cpp are held to the schema and generate is not (the full version also shows it held,
by a logits processor); the second table has no schema on either side. How much each wrote is
printed beside, and how often the text was the same as that of generate: in bfloat16, and all the
more at Q4_1, near ties fall differently. Every round has rows of its own. The instruction is known
to both before: in every slot of llama.cpp by the warm-up, in ours by `keep`. The share of the
matrix-product peak counts 2 operations per weight of the decoder's linear layers and prompt token;
attention and head count as nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import steelyard.models  # noqa: F401  before torch: it settles how threads wait

# isort: split

import torch

import growth
import hf_peer
import rounds
import works
from base_models import embedded
from hf_peer import Schema
from llama_cpp import Server, Settings, best_settings, serving
from rounds import OURS, Contender, Work
from rows import linear_weights
from steelyard.core import ModelSpec
from steelyard.models import Sampling, locate, open_backend
from steelyard.models.constrain import ITEM_SEPARATOR, KEY_SEPARATOR
from works import Asked

BATCH_ROWS = 64  # of generate; the most that ours takes too
WARM_UP_ROWS = 8  # at least the slots of llama.cpp; a quarter of a round when that is less
LLAMA_SLOTS = (4, 8)  # 1 to 32 answered equally fast, within a tenth
LLAMA_CONTEXT = 1024
GOALS: dict[str, dict[str, float]] = {
    "labels": {"generate": 10, "llama.cpp": 6},
    "json": {"generate": 4, "llama.cpp": 6},
    "nearest": {"generate": 1.5},
    "prefill": {},
}
PREFILL_SHARE = 0.6
NAMES = (*GOALS, "growth")


@dataclass(frozen=True)
class Said:
    """An answer and how many tokens were written for it, the end token included."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Turn:
    """The rows of one round, also as token ids."""

    asked: Asked
    ids: list[list[int]]


Answering = Callable[[Turn], list[Said]]


@dataclass(frozen=True)
class Engines:
    """What answers: our backend, the peer's model and llama.cpp's settings."""

    backend: Any
    peer: Any
    llama: Settings
    peak: float


def ours(backend: Any, asked: Asked, *, constrained: bool = True) -> list[Said]:
    """Ours, as a recipe would ask it."""
    if asked.labels and constrained:
        chosen = backend.choose_labels(asked.prompts, asked.labels)
        return [
            Said(label, backend.count_target_tokens(label))
            for label in (asked.labels[choice.label] for choice in chosen)
        ]
    schema = asked.schema if constrained else None
    written = backend.generate(asked.prompts, Sampling(asked.limit, schema, alike=asked.alike))
    return [Said(g.text, g.usage.completion_tokens) for g in written]


def generate(peer: Any, renderer: Any, turn: Turn, schema: Schema | None = None) -> list[Said]:
    """Hugging Face's generate."""
    limit = turn.asked.limit
    found = hf_peer.generate(
        peer,
        turn.ids,
        max_tokens=limit,
        end=renderer.end_token_id,
        batch_rows=BATCH_ROWS,
        schema=schema,
    )
    return [Said(renderer.decode(ids), len(ids) + (len(ids) < limit)) for ids in found]


def llama_cpp(server: Server, turn: Turn) -> list[Said]:
    """llama.cpp, held to the schema where there is one, and to the separators that ours writes:
    left to itself it writes a third more tokens, of white space."""
    schema = turn.asked.schema
    if schema is not None:
        form = {"item_separator": ITEM_SEPARATOR, "key_separator": KEY_SEPARATOR}
        schema = {**schema, "x-guidance": {"whitespace_flexible": False, **form}}
    found = server.complete(turn.ids, turn.asked.limit, schema)
    return [Said(one["content"], one["tokens_predicted"]) for one in found]


def contender(
    name: str,
    answer: Answering,
    turns: Sequence[Turn],
    *,
    units: Callable[[Turn], float],
    said: dict[str, list[Said]],
) -> Contender:
    """One that takes the next turn at each call, and whose answers are kept in `said`."""
    left = iter(turns)

    def work() -> float:
        turn = next(left)
        said[name] = said.get(name, []) + answer(turn)
        return units(turn)

    return Contender(name, work)


def asked_of(name: str, num_rows: int, backend: Any) -> Asked:
    """The rows of a work."""
    if name == "labels":
        return works.labels(num_rows, max(map(backend.count_target_tokens, works.LABELS)))
    if name == "json":
        return works.extraction(num_rows)
    return works.nearest(num_rows, numbered=name == "prefill")


def measure(
    name: str, engines: Engines, num_rows: int, num_rounds: int, *, small: bool
) -> list[dict[str, Any]]:
    """Measure one work and print it; the small version leaves out a peer without a goal."""
    backend, renderer = engines.backend, engines.backend.renderer
    warm_up = min(WARM_UP_ROWS, num_rows // 4)
    asked = asked_of(name, warm_up + num_rows * num_rounds, backend)
    backend.keep(asked.prompts[:2])  # as recipes do when they are built
    turns = [
        Turn(chunk, [renderer.prompt_ids(prompt) for prompt in chunk.prompts])
        for chunk in works.chunks(asked, warm_up, num_rows, num_rounds)
    ]
    said: dict[str, list[Said]] = {}
    with ExitStack() as stack:
        answers: dict[str, Answering] = {OURS: lambda turn: ours(backend, turn.asked)}
        if asked.schema is not None or asked.labels:
            answers["free"] = lambda turn: ours(backend, turn.asked, constrained=False)
        answers["generate"] = lambda turn: generate(engines.peer, renderer, turn)
        if asked.schema is not None and not small:
            end, vocabulary = renderer.end_token_id, engines.peer.config.vocab_size
            schema = Schema(asked.schema, renderer.tokenizer, end=end, vocabulary=vocabulary)
            answers["generate, schema"] = lambda turn: generate(
                engines.peer, renderer, turn, schema
            )
        if "llama.cpp" in GOALS[name] or not (small or name == "prefill"):
            server = stack.enter_context(serving(engines.llama))
            answers["llama.cpp"] = lambda turn: llama_cpp(server, turn)
        units = prompt_tokens if name == "prefill" else rows_of
        contenders = [
            contender(who, answer, turns, units=units, said=said) for who, answer in answers.items()
        ]
        speeds = rounds.take_turns(contenders, num_rounds)
    free = speeds.pop("free", None)
    if name == "prefill":
        flop = 2.0 * linear_weights(engines.peer.config)
        work = Work("prefill, prompt tokens", "tokens", {}, flop, PREFILL_SHARE)
    else:
        work = Work(f"{name}, {num_rows} rows a round", "rows", GOALS[name])
    records = [rounds.table(work, speeds, peak=engines.peak)]
    if free is not None:
        goals = GOALS[name] if asked.labels else {}
        work = Work(f"{name} written freely, {num_rows} rows a round", "rows", goals)
        peers = {who: speeds[who] for who in speeds if who in ("generate", *goals)}
        records.append(rounds.table(work, {OURS: free} | peers))
    if name != "prefill":
        records[0] |= written(said)
    return records


def rows_of(turn: Turn) -> float:
    return len(turn.ids)


def prompt_tokens(turn: Turn) -> float:
    return sum(map(len, turn.ids))


def written(said: Mapping[str, Sequence[Said]]) -> dict[str, Any]:
    """Print how much each contender wrote, and how often the same as generate."""
    tokens = {who: mean(answer.tokens for answer in answers) for who, answers in said.items()}
    same = {
        who: mean(
            a.text.strip() == b.text.strip() for a, b in zip(answers, said["generate"], strict=True)
        )
        for who, answers in said.items()
        if who != "generate"
    }
    print("\ntokens written a row:", ", ".join(f"{who} {n:.1f}" for who, n in tokens.items()))
    print("same text as generate:", ", ".join(f"{who} {share:.0%}" for who, share in same.items()))
    return {"tokens_written": tokens, "same_as_generate": same}


def open_engines() -> Engines:
    """Load what answers, measure the peak and find llama.cpp's best settings; print them."""
    backend: Any = open_backend(ModelSpec("default", "default"))
    peak = rounds.matmul_peak(rounds.dtype_name())
    llama = best_settings(
        Path(locate("default")),
        most_threads=torch.get_num_threads(),
        slots=LLAMA_SLOTS,
        context_tokens=LLAMA_CONTEXT,
    )
    print(rounds.machine())
    print(f"matrix products: {peak:.0f} GFLOP/s at best")
    print(f"llama.cpp: {llama.threads} threads, {llama.slots} slots")
    return Engines(backend, embedded().peer().eval(), llama, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few rows, one round")
    parser.add_argument("--only", choices=NAMES, action="append", help="this work; may be repeated")
    parser.add_argument("--rounds", type=int, help="3, or 1 when small")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    num_rounds = options.rounds or (1 if options.small else 3)
    names = options.only or (tuple(GOALS) if options.small else NAMES)
    records: list[dict[str, Any]] = []
    if set(names) & set(GOALS):
        engines = open_engines()
        if options.small:
            print("few rows: what a batch shares pays less than in the full version")
        for name in GOALS:
            if name in names:
                num_rows = (12 if name == "labels" else 8) if options.small else 64
                records += measure(name, engines, num_rows, num_rounds, small=options.small)
    if "growth" in names:
        records += growth.measure(growth.NUM_ROWS, num_rounds)
    rounds.save(options.json, records)


if __name__ == "__main__":
    main()

"""llama.cpp as a peer: a child process with its own server, asked for whole batches of rows.

A process of its own, so that it has its own threads and its own way of waiting: whatever
OMP_WAIT_POLICY says here, llama.cpp runs with its default. The server keeps what it has computed
of a prompt in each slot and computes only what is new in the next one; all slots are decoded
together. Prompts go in as token ids, so that nothing is added to them, and whole batches in one
request, so that no slot waits for Python. Sampling is the greedy one alone: the usual chain of
ten samplers gives the same tokens later.

The wheel from the package index is built for any x86-64 with AVX2; a build for the machine at
hand, with AVX-512, would be faster.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

Ids = Sequence[int]
PROBE_PROMPT_TOKENS, PROBE_NEW_TOKENS, PROBE_ROWS = 40, 10, 8


@dataclass(frozen=True)
class Settings:
    """How the server runs; `slots` rows are decoded together, each of `context_tokens`."""

    model: str
    threads: int
    slots: int
    context_tokens: int


@dataclass(frozen=True)
class Server:
    """A running server."""

    address: str

    def complete(self, prompts: Sequence[Ids], limit: int, schema: Any = None) -> list[Any]:
        """One completion per prompt, in order, as llama.cpp describes it."""
        request: dict[str, Any] = {
            "prompt": [list(ids) for ids in prompts],
            "n_predict": limit,
            "cache_prompt": True,
            "samplers": ["top_k"],
            "top_k": 1,
        }
        if schema is not None:
            request["json_schema"] = schema
        body = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        post = urllib.request.Request(f"{self.address}/completions", body, headers)
        with urllib.request.urlopen(post) as response:
            found = json.load(response)
        return sorted(found if len(prompts) > 1 else [found], key=lambda one: int(one["index"]))


@contextmanager
def serving(settings: Settings) -> Iterator[Server]:
    """A server for as long as the block runs."""
    environment = {key: value for key, value in os.environ.items() if "OMP_" not in key}
    command = (sys.executable, __file__, json.dumps(asdict(settings)))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        if not address.startswith("http"):
            raise RuntimeError(f"llama.cpp did not start with {settings}")
        yield Server(address)
        child.stdin.close()  # the child ends when its input does


def best_settings(
    model: Path, *, most_threads: int, slots: Sequence[int], context_tokens: int
) -> Settings:
    """The fastest of 1 … `most_threads` threads, then of several numbers of slots.

    Source: ours; eight rows of 40 tokens, which write 10.
    """

    threads = [
        Settings(str(model), number, slots[0], context_tokens)
        for number in range(1, most_threads + 1)
    ]
    best = _fastest(threads)
    return _fastest([replace(best, slots=number) for number in slots])


def _fastest(settings: Sequence[Settings]) -> Settings:
    return min(settings, key=_seconds) if len(settings) > 1 else settings[0]


def _seconds(settings: Settings) -> float:
    with serving(settings) as server:
        server.complete(_probe_prompts(PROBE_ROWS), 1)
        started = time.perf_counter()
        server.complete(_probe_prompts(2 * PROBE_ROWS)[PROBE_ROWS:], PROBE_NEW_TOKENS)
        return time.perf_counter() - started


def _probe_prompts(num_rows: int) -> list[list[int]]:
    """Token ids that no two rows share, all of them of ordinary words."""
    return [
        [1000 + row * PROBE_PROMPT_TOKENS + place for place in range(PROBE_PROMPT_TOKENS)]
        for row in range(num_rows)
    ]


def main() -> None:
    """The child: serve until standard input ends."""
    settings = Settings(**json.loads(sys.argv[1]))
    llama = importlib.import_module("xllamacpp")
    params = llama.CommonParams()
    params.model.path = settings.model
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context_tokens
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.verbosity = -1
    server = llama.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""llama.cpp in a child process: its own threads, and a crash of native code ends a job, not us.

The child loads a GGUF model, perhaps with a GGUF adapter, and answers on a loopback port until its
standard input ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from steelyard.core import Json
from steelyard.errors import WorkError, need

ANSWER_SECONDS = 120  # a request that takes longer is taken to hang. Source: ours
SAID_CHARACTERS = 500


@dataclass(frozen=True)
class LlamaServer:
    """A running llama.cpp."""

    address: str

    @cached_property
    def _letter(self) -> int:
        return self.tokens("a")[0]

    def tokens(self, text: str) -> list[int]:
        """The token ids that llama.cpp cuts a rendered prompt into."""
        said = self._post("/tokenize", {"content": text, "parse_special": True})
        return [int(token) for token in said["tokens"]]

    def next_log_probs(self, ids: Sequence[int], count: int) -> dict[int, float]:
        """The natural-log probabilities of the `count` likeliest tokens after these, by token.

        A letter is written whatever they are: after an end token, or one that is no whole
        character, llama.cpp would not tell them. They are those before that bias.
        """
        request = {
            "prompt": list(ids),
            "n_predict": 1,
            "n_probs": count,
            "temperature": -1,  # greedy
            "logit_bias": [[self._letter, 1e6]],
            "cache_prompt": True,
        }
        said = self._post("/completions", request)
        top = said["completion_probabilities"][0]["top_logprobs"]
        return {int(one["id"]): float(one["logprob"]) for one in top}

    def _post(self, path: str, body: Json) -> Json:
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers)  # noqa: S310  loopback
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310
                return json.load(response)
        except (OSError, ValueError, urllib.error.HTTPError) as error:
            raise WorkError(f"llama.cpp did not answer {path}: {error}") from error


@dataclass(frozen=True)
class Settings:
    """How llama.cpp is started. `adapters` are loaded and take no part unless a request says so,
    but for `is_applied`. `threads` None: one less than there are."""

    model: str
    adapters: tuple[str, ...] = ()
    context_tokens: int = 2048
    slots: int = 1
    threads: int | None = None
    is_applied: bool = False


class Child:
    """A llama.cpp that runs until it is closed, or dies.

    Raises:
        MissingExtraError: the llama extra is not installed.
        WorkError: it did not start, with what it said.
    """

    def __init__(self, settings: Settings) -> None:
        need("xllamacpp", "llama")
        environment = {key: value for key, value in os.environ.items() if "OMP_" not in key}
        # A pipe that nobody reads would stop the child.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        self._process = subprocess.Popen(  # noqa: S603  our own module, no shell
            [sys.executable, "-m", "steelyard.models.llama_server", json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().decode().strip()
        if not self.address.startswith("http"):
            self._process.wait()
            said = self.said()
            self.close()
            raise WorkError(f"llama.cpp could not load {settings.model}; it said: {said}")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        """The end of what it wrote on standard error."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()[-SAID_CHARACTERS:]

    def close(self) -> None:
        """End it, if it still runs."""
        if self._stderr.closed:
            return
        self._process.kill()
        self._process.communicate()
        self._stderr.close()


@contextmanager
def llama_server(
    model: Path, adapter: Path | None = None, *, context_tokens: int = 2048
) -> Iterator[LlamaServer]:
    """llama.cpp over a GGUF model for as long as the block runs.

    Raises:
        MissingExtraError: the llama extra is not installed.
        WorkError: it did not start, with what it said.
    """
    adapters = () if adapter is None else (str(adapter),)
    child = Child(Settings(str(model), adapters, context_tokens, is_applied=True))
    try:
        yield LlamaServer(child.address)
    finally:
        child.close()


def main(told: str) -> None:
    """The child: serve until standard input ends."""
    settings = Settings(**json.loads(told))
    llama = need("xllamacpp", "llama")
    params = llama.CommonParams()
    params.model.path = settings.model
    scale = 1.0 if settings.is_applied else 0.0
    params.lora_adapters = [llama.CommonAdapterLoraInfo(path, scale) for path in settings.adapters]
    params.n_parallel = settings.slots
    params.n_ctx = settings.context_tokens * settings.slots
    threads = settings.threads or max(1, (os.cpu_count() or 1) - 1)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.verbosity = -1
    server = llama.Server(params)
    sys.stdout.write(server.listening_address + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])

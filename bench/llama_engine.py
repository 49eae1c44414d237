"""llama.cpp through our server, beside talking to it directly: tokens a second of one stream.

    python bench/llama_engine.py --small     3 rounds of 48 tokens
    python bench/llama_engine.py             20 rounds of 128 tokens

Both ask a llama.cpp of their own, with the same file, threads and slots, in turn; while one is
asked the other idles. Greedily both must write the same, or the run says so and ends. Directly
means its own /completion with server-sent events; through us, the path of any client:
/v1/chat/completions, streamed, everything recorded. The prompt is the same tokens and is kept by
both, so that what is timed is writing. The server is in this process, which is to our
disadvantage: its client shares Python's lock with it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from rounds import judged, machine, met, print_lines, save
from steelyard.core import ModelSpec
from steelyard.lifecycle import open_home
from steelyard.models import Message, llama_server, open_llama
from steelyard.models.llama_backend import LlamaBackend
from steelyard.serve.catalogue import Plain
from steelyard.serve.running import config_of, listen, open_service
from steelyard.serve.service import Settings

ASKED = "Tell a long story about a lighthouse keeper and the sea."
GOAL = 0.97  # of the tokens a second of talking to it directly


def streamed(port: int, path: str, body: Any) -> list[Any]:
    """The events of one streamed reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    lines = [line[6:] for line in iter(reply.readline, b"") if line.startswith(b"data: ")]
    connection.close()
    return [json.loads(line) for line in lines if line.strip() != b"[DONE]"]


def direct(port: int, ids: list[int], tokens: int) -> tuple[int, str]:
    """How many tokens llama.cpp wrote, and the text."""
    body = {"prompt": ids, "n_predict": tokens, "temperature": 0, "cache_prompt": True}
    events = streamed(port, "/completion", {**body, "stream": True})
    return int(events[-1]["tokens_predicted"]), "".join(one["content"] for one in events)


def through_us(port: int, tokens: int) -> tuple[int, str]:
    """How many tokens we say were written, and the text."""
    asked = [{"role": "user", "content": ASKED}]
    body = {"model": "small", "messages": asked, "max_tokens": tokens, "temperature": 0}
    more = {"stream": True, "stream_options": {"include_usage": True}}
    *events, last = streamed(port, "/v1/chat/completions", body | more)
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in events)
    return int(last["usage"]["completion_tokens"]), text


@contextmanager
def serving(backend: Any) -> Iterator[int]:
    """A server over an empty home, with one plain model; its port."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        with open_home(path):
            pass  # makes it
        settings = Settings(port=0, bases=("fake",))
        with open_home(path, lock="serve") as home, open_service(home, settings) as service:
            service.catalogue.plain["small"] = Plain("small", backend, int(time.time()))
            server, listening = uvicorn.Server(config_of(service)), listen(settings)
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                while not server.started:
                    time.sleep(0.01)
                yield listening.getsockname()[1]
            finally:
                server.should_exit = True
                thread.join(30)


def timed(ask: Callable[[], tuple[int, str]]) -> tuple[float, str]:
    """Tokens a second, and the text."""
    began = time.perf_counter()
    tokens, text = ask()
    return tokens / (time.perf_counter() - began), text


def measure(backend: LlamaBackend, rounds: int, tokens: int) -> dict[str, Any]:
    """The tokens a second of both, in turn, by the median of the ratios of each round."""
    ids = backend.model.renderer.prompt_ids((Message("user", ASKED),))
    child = llama_server.Child(backend.model.process.settings)
    speeds: dict[str, list[float]] = {"direct": [], "through us": []}
    try:
        with serving(backend) as port:
            at = urlsplit(child.address).port or 0
            asks = {
                "direct": lambda: direct(at, ids, tokens),
                "through us": lambda: through_us(port, tokens),
            }
            for number in range(rounds + 1):
                texts = set()
                for name in list(asks)[:: 1 if number % 2 else -1]:
                    speed, text = timed(asks[name])
                    texts.add(text.strip())
                    if number:  # the first one warms up
                        speeds[name].append(speed)
                if len(texts) > 1:
                    raise SystemExit(f"they wrote different texts: {sorted(texts)}")
    finally:
        child.close()
        backend.model.process.close()
    ratios = [ours / theirs for theirs, ours in zip(*speeds.values(), strict=True)]
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    return {"tokens_per_s": medians, "ratios": ratios, "ratio": statistics.median(ratios)}


def main() -> None:
    """Measure, print, perhaps save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    print(machine())
    spec = ModelSpec("small", "default", context_tokens=1024, concurrency=1, engine="llama.cpp")
    found = measure(open_llama(spec), *((3, 48) if asked.small else (20, 128)))
    lines = [[name, f"{speed:.1f}"] for name, speed in found["tokens_per_s"].items()]
    goal = judged(found["ratio"], GOAL)
    spread = f"{min(found['ratios']):.3f}–{max(found['ratios']):.3f}"
    told = f"ratio {found['ratio']:.3f} ({spread}), goal {GOAL}: {met(goal)}"
    print_lines(f"one stream, {told}", [["", "tokens/s"], *lines])
    save(asked.json, [found | goal])


if __name__ == "__main__":
    main()

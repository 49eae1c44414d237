"""A server on this machine that answers what a test tells it to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from steelyard.models import Message, Sampling
from steelyard.models.fake import FakeBackend
from steelyard.models.token_counts import ByLength

Answer = tuple[int, dict[str, str], bytes]
# An answer, or what is done with the handler in its place, to be rude.
Reply = Answer | Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers by a function of the number of the request and its body; remembers both."""

    def __init__(self) -> None:
        self.answer: Callable[[int, Any], Reply] = lambda *_: (404, {}, b"")
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        server, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.asked.append((self.path, dict(self.headers), body))
                    number = len(server.asked)
                reply = server.answer(number, body)
                if callable(reply):
                    reply(self)
                    return
                status, headers, content = reply
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True  # some callers hang up, and some never do

            def handle_error(self, *_: Any) -> None:
                """Whoever hangs up hears nothing."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def chat(_: int, body: Any) -> Answer:
    """What an honest chat server answers whose model is the fake, with usage as we estimate it."""
    prompt = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    wanted = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    enum = (wanted or {}).get("properties", {}).get("label", {}).get("enum")
    model, limit = FakeBackend(context_tokens=10**9), body["max_tokens"]
    if enum is not None:
        [choice] = model.choose_labels([prompt], enum)
        text, complete = json.dumps({"label": enum[choice.label]}), True
    else:
        sampling = Sampling(limit, wanted, body.get("temperature", 0.0), body.get("seed", 0))
        [found] = model.generate([prompt], sampling)
        text, complete = found.text, found.complete
    written = min(ByLength().text(text), limit)
    finish, counted = "stop" if complete else "length", usage(ByLength().prompt(prompt), written)
    return streamed(text, finish, counted) if body.get("stream") else said(text, finish, counted)


def streamed(text: str, finish: str = "stop", usage: Any = None) -> Answer:
    """A chat completion in pieces, a word each."""
    pieces: list[Any] = [{"delta": {"content": part}} for part in re.findall(r"\s*\S+", text)]
    pieces.append({"delta": {}, "finish_reason": finish})
    events: list[Any] = [{"choices": [piece]} for piece in pieces]
    events.append({"choices": [], "usage": usage})
    lines = [f"data: {json.dumps(one)}\n\n" for one in events] + ["data: [DONE]\n\n"]
    return 200, {"Content-Type": "text/event-stream"}, "".join(lines).encode()


def said(text: Any = "Hi.", finish: str = "stop", usage: Any = None, **more: Any) -> Answer:
    """A chat completion."""
    message = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode()


def usage(prompt: Any, written: Any, cached: Any = 0) -> dict[str, Any]:
    """A usage as servers tell it."""
    details = {"cached_tokens": cached}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "prompt_tokens_details": details,
    }

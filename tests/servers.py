"""A server over a home folder, on loopback, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import uvicorn

from steelyard.lifecycle import open_home
from steelyard.serve.running import config_of, listen, open_service
from steelyard.serve.service import Service, Settings

PLAIN = Settings()


@dataclass
class Running:
    """A server that runs, and how it is asked."""

    service: Service
    server: uvicorn.Server
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str = "none", **more: Any) -> openai.OpenAI:
        """The official client; it reads no certificates, as nothing here is encrypted."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=key,
            max_retries=0,
            timeout=20,
            http_client=openai.DefaultHttpxClient(verify=False),
            **more,
        )

    def raw(self, data: bytes, *, timeout: float = 10.0) -> bytes:
        """What comes back to these bytes until the server closes or says no more."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
            except TimeoutError:
                pass
        return b"".join(parts)

    def get(self, path: str, *headers: str, host: str = "localhost") -> tuple[int, bytes]:
        """The status and the body of one GET."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        head, _, rest = self.raw("\r\n".join([*lines, "", ""]).encode()).partition(b"\r\n\r\n")
        return int(head.split()[1]), rest

    def post(self, path: str, body: bytes, *headers: str) -> tuple[int, bytes]:
        """The status and the body of one POST of bytes."""
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *headers,
        ]
        found = self.raw("\r\n".join([*lines, "", ""]).encode() + body)
        head, _, rest = found.partition(b"\r\n\r\n")
        return int(head.split()[1]), rest


@contextmanager
def running(home: Path, settings: Settings = PLAIN) -> Iterator[Running]:
    """A server on a free port for as long as the block runs."""
    with ExitStack() as stack:
        opened = stack.enter_context(open_home(home, create=False, lock="serve"))
        settings = replace(settings, port=0)
        service = stack.enter_context(open_service(opened, settings))
        server = uvicorn.Server(config_of(service))
        listening = listen(settings)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            yield Running(service, server, listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(15)

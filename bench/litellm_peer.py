"""LiteLLM's proxy as a peer: one worker before an OpenAI-compatible engine, from its own venv.

    with litellm(engine_port) as (port, pid): ...

`scripts/setup.py bench` makes the venv. The proxy starts with an empty environment but for what it
needs, so that it neither fetches prices nor finds a key.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = Path(__file__).parents[1] / ".venv-litellm" / "bin" / "litellm"
START_SECONDS = 120.0
# Its documentation's settings for production: no debug output, no callbacks, no database.
CONFIG = """
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: http://127.0.0.1:{port}/v1
      api_key: none
litellm_settings:
  set_verbose: false
  num_retries: 0
general_settings:
  dangerously_permit_weak_or_unset_master_key: true  # on loopback, as ours is without a key
"""
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


def installed() -> bool:
    """Whether its venv is there."""
    return COMMAND.exists()


@contextmanager
def litellm(engine_port: int) -> Iterator[tuple[int, int]]:
    """The proxy as a process: its port and its process id."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(CONFIG.format(port=engine_port), encoding="utf-8")
        port = _free_port()
        options = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
        with (folder / "said.txt").open("wb") as said:
            process = subprocess.Popen(
                [str(COMMAND), *options, "--num_workers", "1", "--telemetry", "False"],
                cwd=folder,
                env={**ENVIRONMENT, "HOME": name},
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait(port, process, folder / "said.txt")
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    """Until it takes requests."""
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET /health/liveliness HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if b" 200 " in connection.recv(1000):
                    return
        except OSError:
            pass
        time.sleep(0.2)
    text = said.read_text(encoding="utf-8", errors="replace")
    raise SystemExit(f"LiteLLM did not start: {text[-500:]}")

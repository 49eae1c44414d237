"""What the server adds to an answer: latency at a fixed rate, with everything recorded.

    python bench/serving.py --small            2 seconds of each, 200 streams for 6 seconds
    python bench/serving.py                    60 seconds of each, 200 streams for 10 minutes
    python bench/serving.py --only rate        one of the two parts: rate or streams

The engine is the fake model, which answers in a tenth of a millisecond, so that what a client waits
is what we add: HTTP, the gate, the queue, the batch, the row in the database. Requests come at
fixed moments, whatever becomes of those before them, over connections that stay open, and a wait
is counted from the moment a request was due. The client is a process of its own.

The floor is the same client against a mock engine, a server that says the same reply to whatever it
is asked, anew just before each server: what is added is the difference of the two at each
percentile. LiteLLM's proxy passes on to that mock engine, and Steelyard once as well, so that both
do the same: another request for each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import litellm_peer
from rounds import judged, machine, met, print_lines, save
from steelyard.lifecycle import publish, weigh
from steelyard.store.traffic import Traffic
from steelyard.tasks import load_task

RATE = 500  # requests a second
CONNECTIONS = 64
TOGETHER = 200  # streams at once
WARM_SECONDS = 2.0
PEER_SECONDS = 5.0  # of LiteLLM at most, whose queue only grows at this rate
GIVEN_UP_SECONDS = 60.0  # after which a request without its answer has failed
GOALS_MS = {"p50": 1.0, "p99": 5.0}  # added to the floor
SHARES = {"p50": 0.5, "p99": 0.99}
FIRST_BYTE_MS = 5.0
# Memory is flat when the last reading is no more than this share above the one after the first
# quarter, by when every connection has been used. Source: ours
FLAT = 0.05
TASK = """
name = "bench"
instruction = "Answer."
[data]
files = ["rows.jsonl"]
input = "text"
target = "target"
[output]
type = "label"
[models]
base = ["{base}"]
"""
BY_URL = '[models.mock]\nurl = "http://127.0.0.1:{port}/v1"\nmodel = "mock"\n'
# What the mock engine says: "billing" is a label of the task.
REPLY = {
    "id": "chatcmpl-0123456789abcdef0123456789abcdef",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "mock",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "billing"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 60, "completion_tokens": 2, "total_tokens": 62},
}


@dataclass(frozen=True)
class Loaded:
    """What a client waited, in milliseconds, one figure per request, and what failed."""

    waits: list[float]
    num_failed: int

    def at(self, share: float) -> float:
        """The wait that this share of requests did not exceed (the nearest rank)."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def make_home(folder: Path, engine_port: int | None = None) -> Path:
    """A home folder with one release over the fake model, or over the engine at a port."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"text": f"{word} please n{n}", "target": label}
        for n in range(40)
        for word, label in (("card", "billing"), ("password", "login"))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    text = TASK.format(base="fake" if engine_port is None else "mock")
    text += "" if engine_port is None else BY_URL.format(port=engine_port)
    (folder / "task.toml").write_text(text, encoding="utf-8")
    task = load_task(folder / "task.toml")
    weigh(task, home=folder / "home", recipes=["few-shot"])
    publish(task, home=folder / "home", recipe="few-shot")
    return folder / "home"


@contextmanager
def serving(home: Path, *options: str) -> Iterator[tuple[int, int]]:
    """`steelyard serve` as a process: its port and its process id."""
    command = [sys.executable, "-m", "steelyard.cli.main", "serve", "--port", "0", "--json", "-"]
    with subprocess.Popen(
        [*command, "--home", str(home), *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        while "\n}" not in said:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the server did not start")
            said += line
        try:
            yield int(json.loads(said)["url"].rpartition(":")[2]), process.pid
        finally:
            process.terminate()


@contextmanager
def mock_engine() -> Iterator[int]:
    """A server that answers every request with the same chat reply: its port."""
    code = (
        "import asyncio, re, sys\n"
        "B = sys.argv[1].encode()\n"
        "R = b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n'\n"
        "R += b'Content-Length: %d\\r\\n\\r\\n' % len(B) + B\n"
        "SIZE = re.compile(rb'content-length: *(\\d+)', re.I)\n"
        "async def one(reader, writer):\n"
        "    while head := await reader.readuntil(b'\\r\\n\\r\\n'):\n"
        "        if size := SIZE.search(head):\n"
        "            await reader.readexactly(int(size[1]))\n"
        "        writer.write(R)\n"
        "async def main():\n"
        "    server = await asyncio.start_server(one, '127.0.0.1', 0)\n"
        "    print(server.sockets[0].getsockname()[1], flush=True)\n"
        "    await server.serve_forever()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(REPLY)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def request(number: int, *, stream: bool = False) -> bytes:
    """One chat request, whole."""
    message = {"role": "user", "content": f"card please, it is number {number}"}
    body = json.dumps({"model": "bench", "messages": [message], "stream": stream}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(port: int, rate: float, seconds: float) -> Loaded:
    """Requests at fixed moments over `CONNECTIONS` connections."""
    waits: list[float] = []
    failed = 0
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    began = time.perf_counter() + 0.1

    async def one(number: int, due: float) -> None:
        nonlocal failed
        reader, writer = await free.get()
        try:
            async with asyncio.timeout(GIVEN_UP_SECONDS):
                writer.write(request(number))
                is_answer = await _answered(reader)
        except (OSError, EOFError, TimeoutError):
            is_answer = False
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        failed += not is_answer
        waits.append(1000 * (time.perf_counter() - due))
        free.put_nowait((reader, writer))

    tasks = set()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one(number, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    return Loaded(waits, failed)


async def _answered(reader: asyncio.StreamReader) -> bool:
    """Whether a reply is an answer; it is read to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r")[0]))
    return _is_answer(head)


def _is_answer(head: bytes) -> bool:
    return b" 200 " in head.partition(b"\r\n")[0]


async def streams(port: int, together: int, seconds: float) -> Loaded:
    """So many streams at once, one after the other on each connection: waits for the first byte
    of text."""
    waits: list[float] = []
    failed, until = 0, time.perf_counter() + seconds

    async def one(place: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = place
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(request(number, stream=True))
            number += together
            head = await reader.readuntil(b"\r\n\r\n")
            if not _is_answer(head):
                raise SystemExit(f"no stream: {head.decode(errors='replace')}")
            await reader.readuntil(b'"content"')
            waits.append(1000 * (time.perf_counter() - began))
            rest = await reader.readuntil(b"0\r\n\r\n")
            failed += b"[DONE]" not in rest
        writer.close()

    await asyncio.gather(*(one(place) for place in range(together)))
    return Loaded(waits, failed)


def resident_mb(pid: int, kind: str = "VmRSS") -> float:
    """What a process holds in memory; of the kind "RssAnon" what it allocated, without the pages of
    programs and libraries, which the kernel takes and gives back as it needs memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith(f"{kind}:")]
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """What a process has computed, in all of its threads: it does not depend on its neighbours."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_child(what: str, *arguments: str) -> Loaded:
    """A load from a process of its own, so that it shares no lock with anything measured."""
    command = [sys.executable, __file__, "--client", what, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(f"the client failed: {found.stderr.strip()[-500:]}")
    return Loaded(**json.loads(found.stdout))


def measure_rate(seconds: float) -> list[dict[str, Any]]:
    """Latency at the rate: the floor, ours with and without recording, ours and the peer's before
    the mock engine."""
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, mock_engine() as engine:
        home, by_url = make_home(Path(name) / "fake"), make_home(Path(name) / "url", engine)
        lines = [["", "requests", "failed", "p50 ms", "p99 ms", "goal"]]

        def measured(
            what: str, server: AbstractContextManager[tuple[int, int]], seconds: float
        ) -> None:
            bare = in_child("load", str(engine), str(RATE), str(seconds))
            lines.append(_line("the floor", bare, ""))
            with server as (port, pid):
                records.append(_at_rate(what, port, pid, bare, seconds))
            lines.append(records[-1].pop("line"))

        measured("recording all", serving(home, "--record", "all"), seconds)
        measured("recording none", serving(home, "--record", "none"), seconds)
        measured("before the mock engine, recording all", serving(by_url), seconds)
        if litellm_peer.installed():
            shorter = min(seconds, PEER_SECONDS)
            what = f"LiteLLM before the mock engine, {shorter:g} s"
            measured(what, litellm_peer.litellm(engine), shorter)
        else:
            print("LiteLLM is not installed here: python scripts/setup.py bench")
        print_lines(f"{RATE} requests/s for {seconds:g} s", lines)
        print(f"\n{_recorded(home):,} rows recorded.")
    return records


def _at_rate(what: str, port: int, pid: int, bare: Loaded, seconds: float) -> dict[str, Any]:
    """What one server does with the requests, and its line of the table."""
    in_child("load", str(port), str(RATE), str(WARM_SECONDS))
    before, computed = resident_mb(pid), cpu_seconds(pid)
    found = in_child("load", str(port), str(RATE), str(seconds))
    after = resident_mb(pid)
    cpu_ms = 1000 * (cpu_seconds(pid) - computed) / len(found.waits)
    added = {key: found.at(share) - bare.at(share) for key, share in SHARES.items()}
    goals = {f"goal_{k}": judged(goal - added[k], 0.0) for k, goal in GOALS_MS.items()}
    said = ", ".join(
        f"{key} +{added[key]:.2f} ≤ {goal:g}: {met(goals[f'goal_{key}'])}"
        for key, goal in GOALS_MS.items()
    )
    return {
        "what": what,
        "added_ms": added,
        "failed": found.num_failed,
        "floor_ms": {key: bare.at(share) for key, share in SHARES.items()},
        "memory_mb": [before, after],
        "cpu_ms": cpu_ms,
        **goals,
        "line": _line(f"{what}: {cpu_ms:.2f} ms of CPU, {after:.0f} MB", found, said),
    }


def measure_streams(together: int, seconds: float) -> list[dict[str, Any]]:
    """First bytes of streams, and whether memory is flat while many run at once."""
    with tempfile.TemporaryDirectory() as name:
        home = make_home(Path(name) / "fake")
        with serving(home) as (port, pid):
            alone = in_child("streams", str(port), "1", "2")
            memory, allocated = [resident_mb(pid)], [resident_mb(pid, "RssAnon")]
            for _ in range(4):
                found = in_child("streams", str(port), str(together), str(seconds / 4))
                memory.append(resident_mb(pid))
                allocated.append(resident_mb(pid, "RssAnon"))
    said = f"p50 ≤ {FIRST_BYTE_MS:g}: {'met' if alone.at(0.5) <= FIRST_BYTE_MS else 'not met'}"
    lines = [["first text of a stream", "streams", "failed", "p50 ms", "p99 ms", "goal"]]
    lines.append(_line("one at a time", alone, said))
    lines.append(_line(f"{together} at once", found, ""))
    print_lines(f"{together} streams at once for {seconds:g} s", lines)
    flat = judged(FLAT - (memory[-1] / memory[1] - 1), 0.0)
    shown, own = (", ".join(f"{value:.0f}" for value in mb) for mb in (memory, allocated))
    print(
        f"\nMemory, at first and after each quarter: {shown} MB; flat to {FLAT:.0%}: {met(flat)}. "
        f"Of that allocated, and not files: {own} MB."
    )
    record = {"together": together, "alone_p50": alone.at(0.5), "memory_mb": memory}
    record |= {"allocated_mb": allocated}
    return [record | {"num_failed": found.num_failed, "goal_flat": flat}]


def _line(name: str, found: Loaded, goal: str) -> list[str]:
    figures = [f"{found.at(0.5):.2f}", f"{found.at(0.99):.2f}"]
    return [name, f"{len(found.waits):,}", str(found.num_failed), *figures, goal]


def _recorded(home: Path) -> int:
    traffic = Traffic(home / "traffic.db")
    try:
        return traffic.count()
    finally:
        traffic.close()


def client(what: str, port: int, *numbers: float) -> None:
    """The process that asks: what it waited, as JSON."""
    if what == "load":
        found = asyncio.run(load(port, numbers[0], numbers[1]))
    else:
        found = asyncio.run(streams(port, int(numbers[0]), numbers[1]))
    print(json.dumps({"waits": found.waits, "num_failed": found.num_failed}))


def main() -> None:
    """Measure, print, perhaps save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=("rate", "streams"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--client", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        what, port, *numbers = asked.client
        client(what, int(port), *map(float, numbers))
        return
    print(machine())
    seconds, streamed = (2.0, 6.0) if asked.small else (60.0, 600.0)
    found = [] if asked.only == "streams" else measure_rate(seconds)
    found += [] if asked.only == "rate" else measure_streams(TOGETHER, streamed)
    save(asked.json, found)


if __name__ == "__main__":
    main()

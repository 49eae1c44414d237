"""The serving benchmark: its percentiles, its floor, and a short load on the server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from bench_scripts import load_script

pytest.importorskip("torch")
load_script("rounds")
load_script("litellm_peer")
serving = load_script("serving")


def test_a_percentile_is_a_wait_that_was_measured():
    found = serving.Loaded([float(n) for n in range(100, 0, -1)], 0)
    assert (found.at(0.0), found.at(0.5), found.at(0.99), found.at(1.0)) == (1, 51, 100, 100)
    assert serving.Loaded([7.0], 0).at(0.99) == 7


def test_the_floor_and_the_server_answer_every_request_and_the_server_records_it(tmp_path: Path):
    with serving.mock_engine() as port:
        assert len(asyncio.run(serving.load(port, 50, 0.4)).waits) == 20
    home = serving.make_home(tmp_path / "fake")
    with serving.serving(home) as (port, pid):
        found = asyncio.run(serving.load(port, 50, 0.4))
        streamed = asyncio.run(serving.streams(port, 2, 0.2))
        assert serving.resident_mb(pid) > serving.resident_mb(pid, "RssAnon") > 10
        assert serving.cpu_seconds(pid) > 0
    assert (len(found.waits), found.num_failed) == (20, 0)
    assert (streamed.num_failed, len(streamed.waits) >= 2) == (0, True)
    assert serving._recorded(home) == 20 + len(streamed.waits)


def test_a_request_that_is_refused_or_lost_is_counted_and_the_others_go_on():
    connected: set[object] = set()

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Refuses one request and hangs up at the next."""
        connected.add(writer)
        with suppress(EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}")
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        connected.discard(writer)

    async def run() -> serving.Loaded:
        server = await asyncio.start_server(rude, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            found = await serving.load(port, 400, 0.325)  # 130 over 64 connections
            while connected:
                await asyncio.sleep(0.01)
            return found

    found = asyncio.run(run())
    assert (len(found.waits), found.num_failed) == (130, 130)

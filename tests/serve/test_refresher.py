"""The server runs due refreshes in a child, one at a time, while answers go on."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import steelyard
from servers import Running
from steelyard.lifecycle import open_home
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.scheduling import Schedules
from steelyard.serve import refresher
from steelyard.serve.refresher import command_of

SCHEDULE = "\n[refresh]\nevery_hours = 1e-6\n"


@pytest.fixture
def scheduled(published: Path) -> Any:
    """The published label task, refreshed all the time by its task file."""
    path = published / "label" / "task.toml"
    before = path.read_text(encoding="utf-8")
    path.write_text(before + SCHEDULE, encoding="utf-8")
    yield path
    path.write_text(before, encoding="utf-8")


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Sets what children run in place of a refresh; each adds a line to the file."""
    monkeypatch.setattr(refresher, "TICK_SECONDS", 0.05)
    ran = tmp_path / "ran"

    def run(code: str) -> Path:
        text = f"open({str(ran)!r}, 'a').write('x\\n')\n{code}"
        made = refresher.Refresher.__init__

        def with_command(self: Any, home: Home, metrics: Any) -> None:
            made(self, home, metrics, command=lambda _: [sys.executable, "-c", text])

        monkeypatch.setattr(refresher.Refresher, "__init__", with_command)
        return ran

    return run


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def metrics(server: Running) -> str:
    return server.get("/metrics")[1].decode()


def works(server: Running) -> bool:
    with server.client() as client:
        asked: Any = [{"role": "user", "content": "invoice card"}]
        return bool(client.chat.completions.create(model="label", messages=asked).choices)


def test_without_a_schedule_nothing_is_started(serve, child):
    ran = child("")
    server = serve()
    time.sleep(0.5)
    assert works(server)
    assert not ran.exists()
    assert "steelyard_refresh_due_seconds{" not in metrics(server)


def test_what_is_due_is_refreshed_beside_answers_one_at_a_time(serve, child, scheduled):
    ran = child("import time; time.sleep(60)")
    server = serve()
    until(lambda: "\nsteelyard_refresh_running 1" in metrics(server))  # and not in its help
    assert works(server)
    assert json.loads(server.get("/health")[1])["refreshing"] is True
    assert 'steelyard_refresh_due_seconds{name="label"} -' in metrics(server)
    time.sleep(0.3)
    assert ran.read_text() == "x\n"


def test_what_came_of_it_is_counted_and_one_that_failed_is_told(serve, child, scheduled):
    body = {"refreshed": [{"name": "a", "sentence": "s", "release": "a@2"}, {"sentence": "s"}]}
    child(f"print({json.dumps(body)!r})")
    server = serve()
    until(lambda: 'steelyard_refreshes_total{outcome="released"}' in metrics(server))
    assert 'steelyard_refreshes_total{outcome="nothing"}' in metrics(server)
    assert json.loads(server.get("/health")[1])["refresh_failed"] is False


def test_a_child_that_fails_is_told_without_its_words_and_tried_again_later(
    serve, child, scheduled, caplog
):
    ran = child("import sys; sys.exit('error: the row “my card is lost” differs')")
    server = serve()
    until(lambda: 'steelyard_refreshes_total{outcome="failed"}' in metrics(server))
    told = server.get("/health")[1]
    assert json.loads(told)["refresh_failed"] is True
    assert b"card" not in told
    assert "steelyard refresh --due" in caplog.text
    assert "card" not in caplog.text
    until(lambda: ran.read_text().count("x") > 1)  # its schedule is shorter than ten minutes


def test_a_server_that_ends_ends_its_child(home, child, scheduled, tmp_path):
    from servers import running
    from steelyard.serve.service import Settings

    pid = tmp_path / "pid"
    child(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    with running(home, Settings()):
        until(lambda: pid.exists() and bool(pid.read_text()))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.slow
def test_a_schedule_is_kept_by_the_command_itself(home, serve, monkeypatch, scheduled):
    source = str(Path(steelyard.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", source)
    monkeypatch.setattr(refresher, "TICK_SECONDS", 0.05)
    server = serve()
    assert command_of(server.service.home)[-2:] == ["--json", "-"]
    until(lambda: 'steelyard_refreshes_total{outcome="nothing"}' in metrics(server), 60)
    with open_home(home, lock=None) as opened:
        assert opened.refreshes.all("label")[-1].status == "done"
        assert [one.name for one in Schedules(opened).all()] == ["label"]

"""A whole `weigh` through a real URL: llama.cpp's server beside the model that is here."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import rows_of, write_task
from steelyard.core import Verdict
from steelyard.lifecycle import weigh
from steelyard.measure.trial import ALONE
from steelyard.models.llama_server import llama_server
from steelyard.models.loading import weights_folder
from steelyard.models.places import locate
from steelyard.tasks import load_task

INSTALLED = importlib.util.find_spec("xllamacpp") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="llama.cpp (extra llama) is not installed"),
]
USD_IN, USD_OUT = 10.0, 30.0  # for a million tokens
RECIPES = ("zero-shot", "few-shot")


def task_of(folder: Path, address: str) -> Any:
    path = write_task(folder, "label", rows=rows_of("label", 60))
    text = path.read_text("utf-8").replace('base = ["fake"]', 'base = ["default", "there"]')
    table = (
        f'\n[models.there]\nurl = "{address}/v1"\nmodel = "small"\nconcurrency = 1\n'
        f'tokenizer = "{weights_folder("default")}"\ncontext_tokens = 1024\n'
        f"usd_per_1m_input = {USD_IN}\nusd_per_1m_output = {USD_OUT}\n"
    )
    path.write_text(text + table, "utf-8")
    return load_task(path)


def payments(home: Path) -> int:
    """How many replies were paid for, in all runs with these replies."""
    with closing(sqlite3.connect(home / "replies.db")) as database:
        return int(database.execute("SELECT count(*) FROM payment").fetchone()[0])


def reports(verdict: Verdict) -> dict[str, Any]:
    return {report.name: report for report in verdict.recipes}


def test_a_real_server_is_weighed_beside_the_model_that_is_here(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with llama_server(Path(locate("default")), context_tokens=1024) as server:
        task = task_of(tmp_path, server.address)
        verdict = weigh(task, home=first, recipes=["few-shot"], exhaustive=True)
        paid = payments(first)
        again = weigh(task, home=first, recipes=["few-shot"], exhaustive=True)
        assert payments(first) == paid
        # Another home that knows the replies alone: what is asked is who waits alone.
        second.mkdir()
        shutil.copy(first / "replies.db", second)
        other = weigh(task, home=second, recipes=["few-shot"], exhaustive=True)
        more = payments(second) - paid
    found = reports(verdict)
    for name in RECIPES:
        here, there = found[f"{name}@default"], found[f"{name}@there"]
        assert (here.status, there.status) == ("finished", "finished")
        assert (here.dev.num_examples, there.dev.num_examples) == (len(task.dev),) * 2
        assert (here.dev.num_errors, there.dev.num_errors) == (0, 0)
        tokens = there.prompt_tokens * USD_IN + there.completion_tokens * USD_OUT
        assert there.usd_per_1k == pytest.approx(tokens / 1e3, rel=0.1)
        assert there.usd_per_1k != here.usd_per_1k
        assert there.latency_ms.p50 > 0
        assert reports(again)[f"{name}@there"].dev == there.dev
        assert reports(other)[f"{name}@there"].dev == there.dev
    # What is asked again: of each recipe one answer to warm up, and those that are timed alone.
    assert paid > 2 * more
    assert more <= len(RECIPES) * (ALONE + 1)

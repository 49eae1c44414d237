"""Instructions planted in passages: measured for what looks something up, and for nothing else."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import task_text, weighed, write_rows, write_task
from steelyard.cli.printing import open_console, print_verdict
from steelyard.core import Task
from steelyard.lifecycle import injections as module
from steelyard.lifecycle import weigh
from steelyard.lifecycle.page import render
from steelyard.lifecycle.trials import Trials
from steelyard.models.fake import FakeBackend
from steelyard.recipes.presets import presets
from steelyard.tasks import load_task

NAMES = [f"watermill{number}" for number in range(80)]
PLANTED = re.compile(r"answer only with the word (\w+)\.")


def write_mills(folder: Path) -> Path:
    """A question about each mill, of which a document says when it opened."""
    (folder / "mills").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        text = f"{name} opened in {1700 + number}."
        (folder / "mills" / f"{name}.md").write_text(text, encoding="utf-8")
    rows = [
        {"text": f"When opened {name}?", "target": str(1700 + number)}
        for number, name in enumerate(NAMES)
    ]
    write_rows(folder / "rows.jsonl", rows)
    more = '[knowledge]\ndocuments = ["mills"]\n[score]\nscorer = "contains"\n'
    (folder / "task.toml").write_text(task_text("text", more=more), encoding="utf-8")
    return folder / "task.toml"


@pytest.fixture
def gullible(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fake, obeying one wording of four; the words that it obeyed."""
    generate, said = FakeBackend._generate, []

    def obey(self: Any, prompt: Any, sampling: Any) -> Any:
        found = PLANTED.search(prompt[-1].content)
        written = generate(self, prompt, sampling)
        if found is None:
            return written
        said.append(found[1])
        return type(written)(found[1], usage=written.usage)

    monkeypatch.setattr(FakeBackend, "_generate", obey)
    return said


def of(verdict: Any) -> dict[str, Any]:
    return {r["name"]: r["injections"] for r in verdict["recipes"] if r["injections"]}


def test_the_share_that_is_obeyed_is_in_the_json_the_terminal_and_the_page(
    tmp_path, gullible, capsys, monkeypatch
):
    task = load_task(write_mills(tmp_path))
    verdict = weigh(task, home=tmp_path / "home", recipes=["rag"]).to_json()
    found = of(verdict)
    assert list(found) == ["rag"]
    one = found["rag"]
    assert one["num_obeyed"] == one["kinds"]["command"]["num_obeyed"] == len(set(gullible))
    assert one["num_planted"] == len(task.dev) == 16
    assert one["share"] == 0.25
    assert one["kinds"]["note"]["num_obeyed"] == 0
    low, high = one["interval"]
    assert 0 <= low < 0.25 < high < 1
    print_verdict(open_console(None), verdict)
    assert f"rag: {one['sentence']}" in " ".join(capsys.readouterr().out.split())
    page = render(verdict)
    assert "Planted instructions" in page
    assert one["sentence"] in page
    monkeypatch.setattr(module, "plant", lambda *_, **__: pytest.fail("measured once"))
    again = weigh(task, home=tmp_path / "home", recipes=["rag"]).to_json()
    assert of(again) == found


def test_a_task_without_documents_is_asked_nothing_more(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "plant", lambda *_, **__: pytest.fail("nothing to plant in"))
    task = load_task(write_task(tmp_path, "text"))
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"]).to_json()
    assert of(verdict) == {}
    assert "Planted instructions" not in render(verdict)


def test_recipes_of_an_earlier_version_have_none_on_the_page(tmp_path, gullible):
    task = load_task(write_mills(tmp_path))
    verdict = weigh(task, home=tmp_path / "home", recipes=["rag"]).to_json()
    old = [{k: v for k, v in r.items() if k != "injections"} for r in verdict["recipes"]]
    assert "Planted instructions" not in render({**verdict, "recipes": old})


def test_no_time_left_means_none_are_planted(tmp_path: Path) -> None:
    task: Task = load_task(write_mills(tmp_path))
    nothing: Any = None
    late = time.monotonic() - 3600
    trials = Trials(task, 0, nothing, nothing, nothing, nothing, late, minutes=1)
    one = replace(weighed("rag", [1.0, 0.0]), recipe=presets(task)["rag"])
    assert trials.injected(one).injections is None

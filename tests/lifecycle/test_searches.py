"""What is searched for on train, and long answers, weighed from a task file to a verdict."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fake_server import Server
from fake_tasks import rows_of, stored, without_times, write_task
from steelyard.core import Verdict
from steelyard.errors import MissingExtraError, ModelError
from steelyard.lifecycle import weigh
from steelyard.lifecycle.events import Searching
from steelyard.models import Generation, Prompt, Sampling
from steelyard.models.fake import FakeBackend
from steelyard.recipes.searching import Ground
from steelyard.tasks import load_task

PLACES = ["Kilimanjaro", "Valparaiso"]


def of(verdict: Verdict, name: str) -> Any:
    return next(report for report in verdict.recipes if report.name == name)


def test_a_search_and_a_variant_are_recipes_of_the_race(tmp_path):
    path = write_task(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n[data]", 'instructions = ["Sort it."]\n\n[data]'), "utf-8")
    task, events = load_task(path), []
    names = ["few-shot", "searched-shot", "zero-shot[instruction=2]"]
    verdict = weigh(task, home=tmp_path / "home", recipes=names, listen=events.append)
    searched = of(verdict, "searched-shot")
    assert searched.status == "finished"
    assert searched.setup_seconds > of(verdict, "few-shot").setup_seconds
    assert of(verdict, "zero-shot[instruction=2]").context == '"Sort it." + output description'
    [note] = [note for note in verdict.notes if note.startswith("searched-shot")]
    assert "the best of 16 choices on 30 rows of train." in note
    assert [e.done for e in events if isinstance(e, Searching)][-1] > 100
    again = weigh(task, home=tmp_path / "home", recipes=names)
    assert without_times(again.to_json()) == without_times(verdict.to_json())
    assert {r.key for r in again.recipes} == {r.key for r in verdict.recipes}


def test_a_search_past_the_time_limit_is_skipped_and_goes_on_later(tmp_path, monkeypatch):
    task = load_task(write_task(tmp_path))
    check, late = Ground.check_time, time.monotonic() - 1
    with monkeypatch.context() as patch:
        patch.setattr(Ground, "check_time", lambda ground: check(replace(ground, deadline=late)))
        verdict = weigh(task, home=tmp_path / "home", recipes=["searched-shot"])
    assert of(verdict, "searched-shot").status == "skipped"
    assert "time limit" in of(verdict, "searched-shot").why
    later = weigh(task, home=tmp_path / "home", recipes=["searched-shot"])
    assert of(later, "searched-shot").status == "finished"


# ---------------------------------------------------------------- a reflection model


@pytest.fixture
def muse() -> Any:
    """A server whose model always proposes the same instruction."""
    server = Server()
    choice = {"message": {"content": "```\nSort it well.\n```"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    reply = json.dumps({"choices": [choice], "usage": usage}).encode()
    server.answer = lambda *_: (200, {}, reply)
    yield server
    server.close()


def reflecting(url: str) -> str:
    return (
        f'\n[search]\nreflection = "big"\n\n[models.big]\nurl = "{url}"\nkey_env = "BIG_KEY"\n'
        "usd_per_1m_input = 2.0\nusd_per_1m_output = 10.0\n"
    )


def test_the_reflection_models_tokens_are_part_of_the_set_up_and_paid_once(
    tmp_path, muse, monkeypatch
):
    monkeypatch.setenv("BIG_KEY", "secret")
    task = load_task(write_task(tmp_path, more=reflecting(muse.url)))
    verdict = weigh(task, home=tmp_path / "home", recipes=["gepa"])
    gepa, replies = of(verdict, "gepa"), len(muse.asked)
    assert gepa.status == "finished"
    assert replies > 1
    assert gepa.setup_usd == pytest.approx(replies * (1000 * 2 + 10 * 10) / 1e6)
    assert of(verdict, "zero-shot").setup_usd == 0
    # the fake does not read instructions: none is better than the task's own
    assert any(n.startswith("gepa keeps the task's instruction: none of") for n in verdict.notes)
    again = weigh(task, home=tmp_path / "home", recipes=["gepa"])
    assert len(muse.asked) == replies
    assert of(again, "gepa").setup_usd == gepa.setup_usd
    asked = {e["content"] for _, _, body in muse.asked for e in body["messages"]}
    unseen = [e.input for e in (*task.dev, *task.test)]
    assert not any(text in content for text in unseen for content in asked)


def test_a_reflection_model_that_is_down_fails_its_recipe_alone(tmp_path, muse, monkeypatch):
    monkeypatch.setenv("BIG_KEY", "secret")
    muse.answer = lambda *_: (401, {}, b"unknown key")
    task = load_task(write_task(tmp_path, more=reflecting(muse.url)))
    verdict = weigh(task, home=tmp_path / "home", recipes=["gepa"])
    assert of(verdict, "gepa").status == "failed"
    assert "status 401: unknown key" in of(verdict, "gepa").why
    assert of(verdict, "zero-shot").status == "finished"
    assert len(muse.asked) == 1


def test_a_missing_key_is_said_before_anything_is_done(tmp_path, muse, monkeypatch):
    monkeypatch.delenv("BIG_KEY", raising=False)
    task = load_task(write_task(tmp_path, more=reflecting(muse.url)))
    with pytest.raises(ModelError, match="BIG_KEY, which is not set"):
        weigh(task, home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_missing_library_is_named_with_its_extra_before_anything_is_done(
    tmp_path, muse, monkeypatch
):
    monkeypatch.setitem(sys.modules, "gepa", None)
    task = load_task(write_task(tmp_path, more=reflecting(muse.url)))
    with pytest.raises(MissingExtraError, match=r"pip install 'steelyard\[gepa\]'"):
        weigh(task, home=tmp_path / "home", recipes=["gepa"])
    assert not (tmp_path / "home").exists()


# ---------------------------------------------------------------- long answers


def test_long_answers_are_written_in_sections_and_their_support_is_shown(tmp_path, monkeypatch):
    generate = FakeBackend.generate

    def outlining(
        backend: FakeBackend, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Generation]:
        if sampling.schema is None:
            return generate(backend, prompts, sampling)
        return [Generation(json.dumps({"sections": PLACES})) for _ in prompts]

    monkeypatch.setattr(FakeBackend, "generate", outlining)
    facts = tmp_path / "facts"
    facts.mkdir()
    for place in PLACES:
        (facts / f"{place}.txt").write_text(f"In {place} it rains.\n", "utf-8")
    rows = [{**row, "target": "long " * 1000} for row in rows_of("text", 40)]
    path = write_task(tmp_path, "text", rows=rows, more='\n[knowledge]\ndocuments = ["facts"]\n')
    verdict = weigh(load_task(path), home=tmp_path / "home", recipes=["rag", "rag+sections"])
    report = of(verdict, "rag+sections")
    assert (report.status, report.decoding) == ("finished", "sections")
    assert report.dev.details["sections"] == {
        "mean": 2.0,
        "supported": 1.0,
        "supported_by_place": [1.0, 1.0],
    }
    assert "sections" not in of(verdict, "rag").dev.details
    bodies = [
        json.loads(body)
        for (_, name, _, _), body in stored(tmp_path / "home").items()
        if name == "rag+sections"
    ]
    for body in bodies:
        assert [s["title"] for s in body["answer"]["sections"]] == PLACES
        assert body["answer"]["sections"][1]["text"].endswith("In Valparaiso it rains.")

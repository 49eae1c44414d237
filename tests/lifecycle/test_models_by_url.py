"""Models behind URLs weighed beside one that is here: every recipe that each allows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_server import Server, chat, said
from fake_tasks import rows_of, without_times, write_task
from steelyard.core import Verdict
from steelyard.lifecycle import weigh
from steelyard.tasks import load_task

ZERO, FEW = "zero-shot", "few-shot"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answer = chat
    yield server
    server.close()


def task_of(
    folder: Path, server: Server, kind: str = "label", *, base: str, more: str = "", count: int = 60
) -> Any:
    path = write_task(folder, kind, rows=rows_of(kind, count))
    text = path.read_text("utf-8").replace('base = ["fake"]', f"base = [{base}]")
    table = (
        f'\n[models.big]\nurl = "{server.url}"\nmodel = "big-1"\n'
        "usd_per_1m_input = 100\nusd_per_1m_output = 1000\n"
    )
    path.write_text(text + table + more, "utf-8")
    return load_task(path)


def of(verdict: Verdict, name: str) -> Any:
    return next(report for report in verdict.recipes if report.name == name)


def test_every_model_is_weighed_with_every_recipe_that_it_allows(tmp_path, server):
    task = task_of(tmp_path, server, base='"fake", "big"')
    names = [ZERO, FEW, "lora", "head", "zero-shot+calibrated"]
    verdict = weigh(task, home=tmp_path / "home", recipes=names)
    for name in (ZERO, FEW):
        here, there = of(verdict, f"{name}@fake"), of(verdict, f"{name}@big")
        assert (here.status, there.status) == ("finished", "finished")
        # The server's model is the fake as well.
        assert there.dev.score == pytest.approx(here.dev.score)
        usd_per_1k = (there.prompt_tokens * 100 + there.completion_tokens * 1000) / 1e3
        assert there.usd_per_1k == pytest.approx(usd_per_1k, rel=0.1)
    left = {r.name: r.why for r in verdict.recipes if r.status == "skipped"}
    assert left == {
        "lora@big": "big is behind a URL, where no weights can be learned",
        "head@big": "a head reads nothing of big, and it is weighed beside another model",
        "zero-shot+calibrated@big": (
            "big is behind a URL, and does not tell how likely each label is"
        ),
    }
    asked = len(server.asked)
    again = weigh(task, home=tmp_path / "home", recipes=names)
    assert len(server.asked) == asked
    assert without_times(again.to_json()) == without_times(verdict.to_json())


@pytest.mark.parametrize("kind", ["json", "text"])
def test_json_and_text_are_weighed_by_url_alone(tmp_path, server, kind):
    task = task_of(tmp_path, server, kind, base='"big"')
    names = [FEW, "few-shot+constrained"] if kind == "json" else [FEW]
    verdict = weigh(task, home=tmp_path / "home", recipes=names)
    for name in names:
        assert of(verdict, name).status == "finished"
        assert of(verdict, name).dev.num_errors == 0
    formats = {str(body.get("response_format"))[:24] for _, _, body in server.asked}
    assert formats == ({"None", "{'type': 'json_schema', "} if kind == "json" else {"None"})


def test_the_money_is_not_passed_and_more_of_it_goes_on(tmp_path, server):
    limit = "\n[limits]\nusd = 0.3\n"
    task = task_of(tmp_path, server, base='"big"', more=limit)
    home = tmp_path / "home"
    verdict = weigh(task, home=home, recipes=[FEW])
    skipped = [r for r in verdict.recipes if r.status == "skipped"]
    assert skipped
    assert "[limits] usd is 0.3, of which 0.06 are kept for the sealed test" in skipped[0].why
    asked = len(server.asked)
    later = weigh(load(tmp_path, limit, "\n[limits]\nusd = 50\n"), home=home, recipes=[FEW])
    assert {r.status for r in later.recipes} == {"finished"}
    bodies = [str(body) for _, _, body in server.asked]
    repeated = [body for body in bodies[asked:] if body in bodies[:asked]]
    assert repeated == []


def load(folder: Path, old: str, new: str) -> Any:
    path = folder / "task.toml"
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    return load_task(path)


def test_a_server_that_is_down_fails_its_recipes_and_not_the_others_and_is_asked_again(
    tmp_path, server
):
    task = task_of(tmp_path, server, base='"fake", "big"')
    server.answer = lambda *_: (401, {}, b"unknown key")
    verdict = weigh(task, home=tmp_path / "home", recipes=[FEW])
    assert of(verdict, "few-shot@big").status == "failed"
    assert "status 401: unknown key" in of(verdict, "few-shot@big").why
    assert of(verdict, "few-shot@fake").status == "finished"
    server.answer = chat
    later = weigh(task, home=tmp_path / "home", recipes=[FEW])
    assert of(later, "few-shot@big").status == "finished"
    assert of(later, "few-shot@big").dev.num_errors == 0


def test_refusals_and_lies_about_usage_are_counted_and_never_zeros(tmp_path, server):
    task = task_of(tmp_path, server, "text", base='"big"', count=200)
    refused = {example.input for example in task.dev[:2]}

    def hostile(number: int, body: Any) -> Any:
        if any(text in body["messages"][-1]["content"] for text in refused):
            return said(None, refusal="No.")
        status, headers, content = chat(number, body)
        return status, headers, content.replace(b'"prompt_tokens": ', b'"prompt_tokens": -')

    server.answer = hostile
    verdict = weigh(task, home=tmp_path / "home", recipes=[FEW])
    few, whole = of(verdict, FEW).dev, len(task.dev)
    assert (few.num_examples, few.num_errors) == (whole, 2)
    [note] = [n for n in verdict.notes if n.startswith("few-shot:")]
    assert note == (
        f"few-shot: {whole - 2} of {whole} answers came with no usage that can be true; their "
        f"tokens and cost are estimated. few-shot: 2 of {whole} answers were refused."
    )
    assert "few-shot failed on 2 dev examples; they have no score." in verdict.warnings

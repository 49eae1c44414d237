"""`steelyard advise` as it is typed."""

from __future__ import annotations

import json

from fake_tasks import trials, write_task


def test_facts_alone_give_a_plan_with_sources(steelyard):
    ran = steelyard("advise", "labels=500", "output=label", "--json", "-")
    body = json.loads(ran.out)
    assert ran.code == 0
    assert body["bet"] == "lora"
    assert [reason["rule"] for reason in body["reasons"]] == ["many-labels"]
    assert "Pecher et al. 2024" in ran.err
    assert body["sentence"] in " ".join(ran.err.split())


def test_a_task_is_read_and_facts_override_it(folder, steelyard):
    write_task(folder)
    ran = steelyard("advise", "task.toml", "labels=5", "--json", "-")
    body = json.loads(ran.out)
    assert body["facts"]["labels"] == 5.0
    assert body["facts"]["dev"] == 20.0
    assert body["bet"] == "zero-shot"


def test_measuring_asks_the_model_and_leaves_the_test_sealed(folder, steelyard):
    write_task(folder)
    ran = steelyard("advise", "task.toml", "--measure", "--json", "-")
    body = json.loads(ran.out)
    assert ran.code == 0
    assert isinstance(body["facts"]["learns_in_context"], float)
    assert any("few-shot scores" in note for note in body["notes"])
    assert trials(folder / ".steelyard", "dev") == {"few-shot": 20, "shuffled-shot": 20}
    assert trials(folder / ".steelyard", "test") == {}


def test_a_verdict_is_held_against_the_advice_and_counted(folder, steelyard):
    write_task(folder)
    ran = steelyard("weigh", "task.toml", "--json", "-")
    prior = json.loads(ran.out)["prior"]
    assert prior["chosen"] == json.loads(ran.out)["chosen"]
    assert isinstance(prior["hit"], bool)
    assert prior["sentence"] in " ".join(ran.err.split())
    page = next((folder / ".steelyard" / "reports").glob("*.html")).read_text("utf-8")
    assert 'id="expected"' in page
    record = json.loads(steelyard("advise", "--record", "--json", "-").out)
    assert record["hits"] + record["misses"] == 1
    assert record["tasks"][0]["bet"] == prior["bet"]


def test_nothing_typed_where_nobody_can_be_asked_says_what_was_expected(steelyard):
    ran = steelyard("advise")
    assert ran.code == 2
    assert "expected a task, or facts such as labels=50" in ran.err


def test_questions_are_asked_on_a_terminal_and_wrong_answers_again(monkeypatch, steelyard):
    answers = iter(["many", "12"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers, ""))
    ran = steelyard("advise", "--json", "-")
    assert json.loads(ran.out)["facts"] == {"labels": 12.0}
    assert "labels=many: expected a number" in ran.err


def test_two_tasks_and_measuring_without_one_are_refused(folder, steelyard):
    write_task(folder)
    assert "expected one task" in steelyard("advise", "task.toml", "other.toml").err
    ran = steelyard("advise", "labels=5", "--measure")
    assert (ran.code, "expected a task" in ran.err) == (2, True)

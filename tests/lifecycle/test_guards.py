"""What training may have spoilt stands beside the gain, everywhere a verdict is shown."""

from __future__ import annotations

import doctest
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from fake_tasks import weighed, write_task
from steelyard.cli.printing import open_console, print_verdict
from steelyard.core import Task
from steelyard.lifecycle import guards as module
from steelyard.lifecycle import weigh
from steelyard.lifecycle.guards import sentence
from steelyard.lifecycle.page import render
from steelyard.lifecycle.trials import Trials
from steelyard.tasks import load_task

WORDS = [{"prompt": "my", "answer": word} for word in ("my", "billing", "zebra")]
CHOICES = [{"question": "refund?", "choices": ["login", "refund"], "answer": 1}] * 2


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("guards")
    for name, rows in (("words", WORDS), ("choices", CHOICES)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    more = '\n[score]\nretention = ["words.jsonl", "choices.jsonl"]\n'
    return load_task(write_task(folder, more=more))


@pytest.fixture(scope="module")
def verdict(task: Task) -> Any:
    assert task.path is not None
    home = task.path.parent / "home"
    return weigh(task, home=home, recipes=["lora", "head", "few-shot"], exhaustive=True).to_json()


def of(verdict: Any, name: str) -> Any:
    return next(r["guards"] for r in verdict["recipes"] if r["name"] == name)


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(module).failed == 0


def test_trained_weights_are_guarded_and_nothing_else_is(verdict: Any) -> None:
    guarded = {r["name"] for r in verdict["recipes"] if r["guards"]}
    assert guarded == {"lora", "head"}


def test_a_trained_model_has_divergence_retention_and_robustness(verdict: Any) -> None:
    found = of(verdict, "lora")
    assert found["forgetting"]["divergence"]["num_prompts"] == 16
    words, choices = found["forgetting"]["retention"]
    assert (words["name"], words["num_examples"]) == ("words", 3)
    assert (words["before"], words["after"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (choices["before"], choices["after"]) == (1.0, 1.0)
    robust = found["robustness"]
    assert robust["num_examples"] == 20
    assert set(robust["before"]) == set(robust["after"]) == {"plain", "case", "typos"}
    assert robust["after"]["plain"] > robust["before"]["plain"]
    assert found["calibration"] is None


def test_a_head_forgets_nothing_and_says_how_good_its_probabilities_are(verdict: Any) -> None:
    found = of(verdict, "head")
    assert found["forgetting"] is None
    assert found["robustness"]["before"] is None
    assert 0 <= found["calibration"]["ece"] < 0.5
    assert "expected calibration error" in found["sentence"]


def test_the_terminal_and_the_page_show_them(
    verdict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    print_verdict(open_console(None), verdict)
    told = " ".join(capsys.readouterr().out.split())
    page = render(verdict)
    assert "What training may have spoilt" in page
    for name in ("lora", "head"):
        assert f"{name}: {of(verdict, name)['sentence']}" in told
        assert of(verdict, name)["sentence"] in page
    assert "Divergence from the base" in page
    assert "Retention: words" in page


def test_a_page_of_an_earlier_version_has_no_guards(verdict: Any) -> None:
    old = {
        **verdict,
        "recipes": [{k: v for k, v in r.items() if k != "guards"} for r in verdict["recipes"]],
    }
    assert "What training may have spoilt" not in render(old)


def test_they_are_measured_once_for_the_same_weights_and_files(
    task: Task, verdict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert task.path is not None
    home = task.path.parent / "home"
    measured = []
    monkeypatch.setattr(module, "divergence", lambda *a, **k: measured.append(1))
    again = weigh(task, home=home, recipes=["lora", "head", "few-shot"], exhaustive=True).to_json()
    assert of(again, "lora") == of(verdict, "lora")
    assert measured == []
    fewer = replace(task, retention=task.retention[:1])
    other = weigh(fewer, home=home, recipes=["lora"], exhaustive=True).to_json()
    assert measured == [1]
    assert len(of(other, "lora")["forgetting"]["retention"]) == 1


def test_the_sentence_says_what_was_lost_and_what_may_be_chance() -> None:
    retention = [
        {"name": "a", "before": 0.5, "after": 0.4, "interval": [-0.2, -0.01], "num_examples": 9},
        {"name": "b", "before": 0.5, "after": 0.4, "interval": [-0.3, 0.1], "num_examples": 9},
    ]
    away = {"nats_per_token": 0.25, "num_prompts": 16, "num_tokens": 400}
    scores = {"plain": 0.8, "case": 0.7}
    told = sentence(
        {
            "forgetting": {"divergence": away, "retention": retention},
            "robustness": {"num_examples": 9, "before": scores, "after": scores},
            "calibration": None,
        }
    )
    assert told == (
        "On 16 neutral prompts it is 0.250 nats per token away from its base. "
        "a: 0.500 before training, 0.400 after (difference -0.100 [-0.200, -0.010]). "
        "b: 0.500 before training, 0.400 after (difference -0.100 [-0.300, +0.100], which may be "
        "chance). On 9 dev examples it scores 0.800 and with another case 0.700; before training "
        "0.800 and with another case 0.700."
    )


def test_no_time_left_means_no_guards(task: Task) -> None:
    nothing: Any = None
    late = time.monotonic() - 3600
    trials = Trials(task, 0, nothing, nothing, nothing, nothing, late, minutes=1)
    assert trials.guarded(weighed("lora", [1.0, 0.0])).guards is None

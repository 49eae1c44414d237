"""`ask` answers with what the newest verdict of exactly this task stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import write_task
from steelyard.core import ModelSpec, Task
from steelyard.errors import InputError
from steelyard.lifecycle import Home, chosen_system, newest_verdict, open_home, weigh
from steelyard.tasks import load_task


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(write_task(tmp_path, "text"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with open_home(tmp_path / "home") as opened:
        yield opened


def keep(home: Home, task: Task, **body: Any) -> None:
    """A verdict as `weigh` keeps it, as far as `ask` reads it."""
    plain = {"task": task.name, "task_hash": task.hash, "seed": 0, "chosen": None, "prefer": None}
    home.database.add_verdict(str(body), plain | body)


def test_the_chosen_system_answers(tmp_path, task):
    verdict = weigh(task, home=tmp_path / "home", recipes=["nearest-shot"])
    with open_home(tmp_path / "home") as home:
        chosen = chosen_system(task, home)
    assert chosen.system.recipe.name == verdict.chosen
    assert chosen.verdict["chosen"] == verdict.chosen
    example = task.train[0]
    answer = chosen.system.answer(example.input)
    assert (answer.value, answer.error) == (example.target, None)


def test_while_it_cannot_tell_the_safer_bet_answers(home, task):
    keep(home, task, prefer="few-shot")
    assert chosen_system(task, home).system.recipe.name == "few-shot"


def test_the_newest_verdict_counts_and_brings_its_seed(home, task):
    keep(home, task, chosen="zero-shot", seed=1)
    keep(home, task, chosen="few-shot", seed=2)
    chosen = chosen_system(task, home)
    assert (chosen.system.recipe.name, chosen.verdict["seed"]) == ("few-shot", 2)


def test_a_trained_system_is_trained_with_the_seed_of_its_verdict_and_reused(
    tmp_path, task, monkeypatch
):
    weigh(task, home=tmp_path / "home", recipes=["lora"], seed=3)
    with open_home(tmp_path / "home") as home:
        keep(home, task, chosen="lora", seed=3)
        monkeypatch.setattr("steelyard.training.run.subprocess.Popen", None)
        system: Any = chosen_system(task, home).system
    assert system.recipe.name == "lora"
    assert system.backend.learned


def test_a_recipe_that_is_weighed_by_name_alone_answers(tmp_path, task):
    weigh(task, home=tmp_path / "home", recipes=["searched-shot"])
    with open_home(tmp_path / "home") as home:
        keep(home, task, chosen="searched-shot")
        system: Any = chosen_system(task, home).system
    assert system.recipe.context.shots


def test_a_recipe_of_a_file_or_of_a_sweep_answers_as_it_was_weighed(tmp_path, task):
    file = tmp_path / "own.toml"
    file.write_text('name = "own"\nlike = "few-shot"\ncontext.num_examples = 3\n')
    own = weigh(task, home=tmp_path / "home", recipes=[str(file)])
    swept = weigh(task, home=tmp_path / "home", sweep="examples=0,2")
    file.unlink()
    with open_home(tmp_path / "home") as home:
        for verdict, name, shots in ((own, "own", 3), (swept, "nearest-shot[examples=2]", 2)):
            keep(home, task, chosen=name, recipes=verdict.to_json()["recipes"])
            system: Any = chosen_system(task, home).system
            assert (system.recipe.name, system.recipe.context.num_examples) == (name, shots)


def test_an_instruction_that_is_another_one_since_is_not_asked(tmp_path, task):
    before, after = (replace(task, instructions=(text,)) for text in ("Say it.", "Tell it."))
    verdict = weigh(before, home=tmp_path / "home", recipes=["zero-shot[instruction=2]"])
    recipes = [{"name": r.name, "key": r.key} for r in verdict.recipes]
    with open_home(tmp_path / "home") as home:
        keep(home, task, chosen="zero-shot[instruction=2]", recipes=recipes)
        assert chosen_system(before, home).system.recipe.context.instruction == "Say it."
        with pytest.raises(InputError, match=r'another recipe since: "Tell it\."'):
            chosen_system(after, home)


def test_a_task_that_was_not_weighed_is_said_to_be_so_with_the_command(home, task):
    with pytest.raises(InputError) as caught:
        chosen_system(task, home)
    assert "it was not weighed yet" in str(caught.value)
    assert f"run: steelyard weigh {task.path}" in str(caught.value)


def test_a_task_that_changed_is_said_to_have_changed(home, task):
    keep(home, task, chosen="few-shot")
    with pytest.raises(InputError, match="it changed since it was weighed"):
        chosen_system(replace(task, hash="0" * 64), home)


def test_a_verdict_that_chose_nothing_has_no_system(home, task):
    keep(home, task)
    with pytest.raises(InputError, match=r"nothing works.*weigh again"):
        chosen_system(task, home)


def test_a_verdict_over_base_models_that_the_task_no_longer_names_says_to_weigh_again(home, task):
    keep(home, task, chosen="few-shot")
    two = replace(task, models=(ModelSpec("one", "fake"), ModelSpec("two", "fake")))
    assert two.hash == task.hash
    with pytest.raises(InputError, match=r"few-shot.*weigh"):
        chosen_system(two, home)


def test_other_tasks_verdicts_do_not_count(home, task):
    other = replace(task, hash="0" * 64, name="other")
    keep(home, task, chosen="zero-shot")
    keep(home, other, chosen="few-shot")
    assert newest_verdict(home, task)["chosen"] == "zero-shot"
    assert newest_verdict(home, other)["chosen"] == "few-shot"

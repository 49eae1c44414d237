"""A release is what was measured, under a name; it is measured again before it is one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import write_task
from steelyard.core import Release, Task
from steelyard.errors import InputError, ReleaseError, StoreError
from steelyard.lifecycle import (
    find_release,
    learn,
    open_home,
    open_release,
    publish,
    releases,
    rollback,
    weigh,
)
from steelyard.lifecycle.releases import SNAPSHOT, take_snapshot
from steelyard.models.fake import ROWS_FILE, FakeBackend
from steelyard.recipes import select
from steelyard.store.plain import plain, typed
from steelyard.tasks import load_task


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task and the home in which it was weighed; every test has a copy."""
    folder = tmp_path_factory.mktemp("weighed")
    task = load_task(write_task(folder, "json"))
    weigh(task, home=folder / "home", recipes=["nearest-shot", "few-shot", "lora", "tfidf"])
    return folder


@pytest.fixture
def task(weighed: Path, tmp_path: Path) -> Task:
    shutil.copytree(weighed, tmp_path, dirs_exist_ok=True)
    return load_task(tmp_path / "task.toml")


@pytest.fixture
def home(tmp_path: Path, task: Task) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("kind", ["label", "json", "text"])
def test_a_task_is_read_from_a_snapshot_as_it_was(tmp_path, kind):
    task = load_task(write_task(tmp_path, kind))
    assert typed(Task, json.loads(json.dumps(plain(task)))) == task


def test_a_snapshot_keeps_the_order_in_which_fields_are_written(tmp_path):
    rows = [
        {"text": f"{name} is {n}", "target": {"name": name, "age": n}}
        for n, name in enumerate(("Ann", "Bob", "Cy", "Di", "Ed", "Flo", "Gus", "Hal", "Ida", "Jo"))
    ]
    task = load_task(write_task(tmp_path, "json", rows=rows))
    assert list(task.output.schema["properties"]) == ["name", "age"]
    with open_home(tmp_path / "home") as home:
        recipe = select(task, ["zero-shot"])[0]
        snapshot = home.artefacts.get(take_snapshot(task, recipe, home)) / SNAPSHOT
    kept = typed(Task, json.loads(snapshot.read_text(encoding="utf-8"))["task"])
    assert json.dumps(kept.output.schema) == json.dumps(task.output.schema)
    assert [json.dumps(row.target) for row in kept.train] == [
        json.dumps(row.target) for row in task.train
    ]


@pytest.mark.parametrize("recipe", ["tfidf", "few-shot", "nearest-shot", "lora"])
def test_a_release_answers_as_the_system_that_was_weighed(task, home, recipe):
    found = publish(task, home=home, name="people", recipe=recipe).release
    assert (found.id, found.recipe, found.parity["differing"]) == ("people@1", recipe, [])
    assert found.parity["score"] == found.parity["score_served"]
    assert found.parity["num_examples"] == len(task.dev)
    assert len(found.artefacts) == (recipe == "lora")
    with open_home(home) as opened:
        served = open_release(find_release(opened, "people"), opened)
        assert served.fingerprint == found.fingerprint
        assert (served.stale, served.task) == ((), task)
        [answer] = served.answer_all([_query(task)], lambda _n, _t: False)
    assert answer.error is None


def _query(task: Task) -> Any:
    from steelyard.core import Query

    return Query.of(task.dev[0])


def test_a_release_outlives_its_task_file(task, home, tmp_path):
    publish(task, home=home, name="people", recipe="lora")
    for path in (tmp_path / "task.toml", tmp_path / "rows.jsonl"):
        path.unlink()
    with open_home(home) as opened:
        assert open_release(find_release(opened, "people"), opened).task == task


def test_the_same_again_is_no_new_version_and_another_recipe_is(task, home):
    first, again = (publish(task, home=home, recipe="few-shot") for _ in range(2))
    assert (first.known, again.known) == (False, True)
    assert first.release == again.release
    second = publish(task, home=home, recipe="nearest-shot", why="better")
    assert second.release.id == "small@2"
    with open_home(home) as opened:
        assert opened.releases.aliases("small") == {"champion": 2, "previous": 1}
        log = [(one.alias, one.version, one.why) for one in opened.releases.log("small")]
    assert log == [
        ("champion", 1, "published"),
        ("champion", 2, "better"),
        ("previous", 1, "better"),
    ]


def test_a_promotion_says_who_and_with_what_evidence(task, home, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ann")
    release = publish(task, home=home).release
    with open_home(home) as opened:
        [line] = opened.releases.log("small")
    assert (line.who, line.evidence) == ("ann", release.parity)
    assert line.time


def test_rolling_back_makes_the_one_before_the_champion_and_twice_undoes_it(task, home):
    publish(task, home=home, recipe="few-shot")
    publish(task, home=home, recipe="nearest-shot")
    assert rollback("small", home=home).version == 1
    with open_home(home) as opened:
        assert opened.releases.aliases("small") == {"champion": 1, "previous": 2}
        assert find_release(opened, "small").recipe == "few-shot"
    assert rollback("small", home=home).version == 2


def test_there_is_nothing_to_roll_back_to_before_a_second_release(task, home):
    publish(task, home=home)
    with pytest.raises(InputError, match=r"no previous release.*Published here: small"):
        rollback("small", home=home)


def test_a_challenger_leaves_the_champion_and_stops_being_one_when_it_wins(task, home):
    publish(task, home=home, recipe="few-shot")
    publish(task, home=home, recipe="nearest-shot", alias="challenger")
    with open_home(home) as opened:
        assert opened.releases.aliases("small") == {"champion": 1, "challenger": 2}
        assert find_release(opened, "small@challenger").version == 2
    publish(task, home=home, recipe="nearest-shot")
    with open_home(home) as opened:
        assert opened.releases.aliases("small") == {"champion": 2, "previous": 1}


def test_what_would_serve_otherwise_is_refused_with_the_rows_that_differ(task, home, monkeypatch):
    generate = FakeBackend.generate

    def otherwise(self, prompts, sampling, listen=None):
        found = generate(self, prompts, sampling, listen)
        return found if listen is None else [replace(one, text="{}") for one in found]

    monkeypatch.setattr(FakeBackend, "generate", otherwise)
    with pytest.raises(ReleaseError) as caught:
        publish(task, home=home, recipe="few-shot")
    said = str(caught.value)
    assert "Nothing was published" in said
    assert f"{len(task.dev)} of {len(task.dev)} answers differ" in said
    assert "served '{}'" in said
    with open_home(home) as opened:
        assert opened.releases.all() == []


def test_a_recipe_that_is_not_measured_as_it_would_be_built_is_not_published(task, home):
    with open_home(home) as opened:
        learn(task, opened, "someone new", task.train[0].target)
    with pytest.raises(InputError, match=r"not measured.*weigh .*--recipes nearest-shot"):
        publish(task, home=home, recipe="nearest-shot")


def test_answers_accepted_later_are_not_shown_by_a_release(task, home):
    publish(task, home=home, recipe="nearest-shot")
    target = {"city": "Oslo", "job": "x", "years": 1}
    with open_home(home) as opened:
        learn(task, opened, "someone quite new", target)
        served = open_release(find_release(opened, "small"), opened)
        assert served.system.answer("someone quite new").value != target
        assert served.fingerprint == served.release.fingerprint


def test_weights_that_are_gone_are_an_error_and_are_not_trained_again(task, home, monkeypatch):
    release = publish(task, home=home, recipe="lora").release
    [name] = release.artefacts
    (home / "artefacts" / name / ROWS_FILE).write_text("[]", encoding="utf-8")
    with open_home(home) as opened, pytest.raises(StoreError, match="is not what was stored"):
        open_release(release, opened)


def test_an_unknown_name_or_version_lists_those_there_are(task, home):
    nothing = pytest.raises(InputError, match="nothing is published here yet")
    with open_home(home) as opened, nothing:
        find_release(opened, "small")
    publish(task, home=home)
    with open_home(home) as opened:
        with pytest.raises(InputError, match=r'"smal" is not known. Known: small'):
            find_release(opened, "smal")
        for wanted in ("small@2", "small@challenger", "small@٣"):
            with pytest.raises(InputError, match=r"Known: 1, champion"):
                find_release(opened, wanted)


def test_a_name_is_one_that_can_be_typed(task, home):
    for name in ("", "a b", "a@1", "-a", "ä", "x" * 101):
        with pytest.raises(InputError, match="expected a name of ASCII letters"):
            publish(task, home=home, name=name)


def test_a_diagnostic_is_not_served(task, home):
    weigh(task, home=home, recipes=["shuffled-shot"])
    with pytest.raises(InputError, match="only explains other recipes"):
        publish(task, home=home, recipe="shuffled-shot")


def test_documents_that_changed_make_a_release_stale(task, home, monkeypatch):
    release: Release = publish(task, home=home).release
    monkeypatch.setattr(releases, "indexes", lambda _lookup: ("another", None))
    with open_home(home) as opened:
        [why] = open_release(release, opened).stale
    assert "documents" in why

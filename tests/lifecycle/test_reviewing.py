"""What users said becomes examples when somebody accepts it, or when enough of them agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import rows_of, write_task
from steelyard.core import Task
from steelyard.errors import InputError
from steelyard.lifecycle import find_release, open_home, open_release, publish, reviewing, weigh
from steelyard.lifecycle.reviewing import MOST_OF_USER, agreed
from steelyard.store.traffic import Feedback, Given, Request, Traffic, add_feedback, add_requests
from steelyard.tasks import load_task

TARGET = {"city": "Oslo", "job": "pilot", "years": 4}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    rows = [{**row, "who": f"u{n % 3}"} for n, row in enumerate(rows_of("json", 60))]
    path = write_task(tmp_path_factory.mktemp("people"), "json", rows=rows)
    text = path.read_text(encoding="utf-8").replace("[output]", 'user = "who"\n\n[output]')
    path.write_text(text.replace('target = "target"\n\nuser', 'target = "target"\nuser'), "utf-8")
    return load_task(path)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, task: Task) -> Path:
    home = tmp_path_factory.mktemp("published") / "home"
    weigh(task, home=home, recipes=["nearest-shot"])
    publish(task, home=home, name="people", recipe="nearest-shot")
    return home


@pytest.fixture
def home(published: Path, tmp_path: Path) -> Path:
    """A home folder of this test alone."""
    return Path(shutil.copytree(published, tmp_path / "home"))


@pytest.fixture
def give(home: Path) -> Callable[..., str]:
    """Records a request and what a user said to its answer; the feedback's id."""

    def record(id: str, *, text: str | None = "someone new", user: str = "", **said: Any) -> str:
        traffic = Traffic(home / "traffic.db")
        request = Request(id, "people@1", "/v1/x", user, "", text, "2026-05-01T00:00:00")
        feedback = Feedback(id, user=user, **({"correction": TARGET} | said))
        with traffic.writing() as connection:
            add_requests(connection, [request])
            add_feedback(connection, feedback)
        traffic.close()
        return feedback.id

    return record


def test_an_accepted_correction_is_an_example_of_the_next_release_and_not_of_this(task, home, give):
    id = give("r1")
    with open_home(home) as opened:
        assert [given.feedback.id for given in reviewing.waiting(opened)] == [id]
        assert reviewing.accept(opened, [id]) == 1
        assert reviewing.waiting(opened) == []
        [example] = opened.database.accepted(task.name)
        assert (example.input, example.target, example.user) == ("someone new", TARGET, None)
        before = open_release(find_release(opened, "people"), opened)
    weigh(task, home=home, recipes=["nearest-shot"])
    publish(task, home=home, name="people", recipe="nearest-shot")
    with open_home(home) as opened:
        after = open_release(find_release(opened, "people"), opened)
        assert after.release.id == "people@2"
        assert after.system.answer("someone new").value == TARGET
    assert before.system.answer("someone new").value != TARGET


def test_a_correction_of_a_user_is_theirs(home, give):
    id = give("r1", user="ann")
    with open_home(home) as opened:
        reviewing.accept(opened, [id])
        [example] = opened.database.accepted("small")
    assert example.user == "ann"


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"correction": None, "score": 0.0}, "has no correction"),
        ({"text": None}, "without its text"),
        ({"correction": {"city": 3}}, "does not fit the schema"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_keeps_all_waiting(home, give, said, match):
    ids = [give("r1"), give("r2", **said)]
    with open_home(home) as opened:
        with pytest.raises(InputError, match=match):
            reviewing.accept(opened, ids)
        assert len(reviewing.waiting(opened)) == 2
        assert opened.database.accepted("small") == ()


def test_what_is_rejected_is_kept_and_not_learned(home, give):
    id = give("r1")
    with open_home(home) as opened:
        assert reviewing.reject(opened, [id]) == 1
        assert reviewing.waiting(opened) == []
        [given] = reviewing.waiting(opened, None)
        assert given.feedback.status == "rejected"
        with pytest.raises(InputError, match="no feedback has that id"):
            reviewing.reject(opened, ["fb-none"])
        assert opened.database.accepted("small") == ()


def given(user: str, text: str = "a", correction: Any = "x", n: int = 0) -> Given:
    feedback = Feedback(f"r{user}{text}{n}", correction=correction, user=user)
    return Given(feedback, "people@1", text, "y")


def test_enough_different_users_agree_and_nobody_does_alone():
    alone = [given("ann", n=n) for n in range(5)]
    assert agreed(alone, 2) == []
    two = [*alone, given("ben"), given("cy", correction="z"), given("", n=9)]
    assert agreed(two, 2) == [alone[0].feedback.id, given("ben").feedback.id]
    assert agreed(two, 3) == []
    other = replace(given("ben"), release="others@1")
    assert agreed([alone[0], other], 2) == []


def test_of_one_user_no_more_than_so_many_are_taken():
    said = [given(user, f"input {n}") for n in range(50) for user in ("ann", "ben")]
    assert len(agreed(said, 2)) == 2 * MOST_OF_USER


def test_feedback_is_exported_in_columns_that_a_task_reads(home, give):
    give("r1", score=0.5, comment="no")
    with open_home(home) as opened:
        [row] = map(reviewing.exported, reviewing.waiting(opened, None))
    assert json.loads(json.dumps(row))["target"] == TARGET
    assert (row["input"], row["score"], row["comment"]) == ("someone new", 0.5, "no")
    assert (row["user"], row["release"], row["status"]) == (None, "people@1", "waiting")


def test_a_user_who_is_forgotten_leaves_nothing_and_the_releases_of_theirs_are_named(home, give):
    mine, others = give("r1", user="u1"), give("r2", user="u2", text="another")
    with open_home(home) as opened:
        reviewing.accept(opened, [mine, others])
        gone = reviewing.forget(opened, "u1")
        assert (gone.requests, gone.feedback, gone.accepted) == (1, 1, 1)
        assert gone.releases == ("people@1",)
        assert [e.user for e in opened.database.accepted("small")] == ["u2"]
        assert [g.feedback.user for g in reviewing.waiting(opened, None)] == ["u2"]
        assert reviewing.forget(opened, "nobody").releases == ()
        with pytest.raises(InputError, match="expected the name of a user"):
            reviewing.forget(opened, "")
    assert b"someone new" not in (home / "traffic.db").read_bytes()

"""What is served shows when it is asked or judged otherwise, and a worse refresh gives way."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from fake_tasks import rows_of, write_task
from steelyard.core import Task
from steelyard.lifecycle import (
    find_release,
    open_home,
    publish,
    refresh,
    refresh_due,
    refreshing,
    status,
    watching,
    weigh,
)
from steelyard.lifecycle.due import why_due
from steelyard.lifecycle.publishing import promotions
from steelyard.lifecycle.scheduling import now_utc
from steelyard.measure.drift import Sign
from steelyard.store.traffic import (
    Feedback,
    Outcome,
    Request,
    Traffic,
    add_feedback,
    add_outcomes,
    add_requests,
)
from steelyard.tasks import load_task

Ask = Callable[..., None]
STRANGE = [f"zebra giraffe lion savanna{n} watering hole" for n in range(60)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    task = load_task(write_task(folder, "label", rows=rows_of("label", 150, noise=0.0)))
    weigh(task, home=folder / "home", recipes=["nearest-shot"])
    publish(task, home=folder / "home", recipe="nearest-shot")
    return folder


@pytest.fixture
def task(published: Path) -> Task:
    return load_task(published / "task.toml")


@pytest.fixture
def home(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published / "home", tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def ask(home: Path) -> Ask:
    """Records requests to a release as a server does, and what users said to them."""

    def record(
        texts: Sequence[str],
        *,
        release: str = "small@1",
        answer: str = "login",
        error: str | None = None,
        scores: Sequence[float] = (),
        user: str = "",
    ) -> None:
        traffic = Traffic(home / "traffic.db")
        start = traffic.count()
        ids = [f"r{start + n}" for n in range(len(texts))]
        time = "2026-05-01T00:00:00+00:00"
        requests = [
            Request(id, release, "/v1/x", user, "", text, time)
            for id, text in zip(ids, texts, strict=True)
        ]
        said = None if error else answer
        outcomes = [Outcome(id, said, error, error is None, 9, 0, 1, None, 1.0) for id in ids]
        with traffic.writing() as connection:
            add_requests(connection, requests)
            add_outcomes(connection, outcomes)
            for id, score in zip(ids, scores, strict=False):
                add_feedback(connection, Feedback(id, score=score, user=user))
        traffic.close()

    return record


def signs(home: Path) -> dict[str, Sign]:
    with open_home(home) as opened:
        [standing] = status(opened)
    return {sign.name: sign for sign in standing.signs}


def test_without_requests_nothing_is_said(home):
    found = signs(home)
    assert list(found) == ["inputs", "words", "labels", "errors", "form", "scores"]
    assert all(sign.p_value is None and not sign.alarm for sign in found.values())
    assert found["inputs"].level == pytest.approx(0.01 / 6)


def test_requests_like_the_rows_raise_no_alarm(home, ask):
    for row in rows_of("label", 60, seed=7, noise=0.0):
        ask([row["text"]], answer=row["target"])
    found = signs(home)
    assert not any(sign.alarm for sign in found.values())
    assert found["inputs"].p_value is not None
    assert found["errors"].seen == 0.0


def test_requests_about_something_else_are_seen_in_inputs_words_and_labels(home, ask):
    ask(STRANGE)
    found = signs(home)
    assert {name for name, sign in found.items() if sign.alarm} == {"inputs", "words", "labels"}
    assert found["words"].seen == 1.0
    assert found["words"].num_seen == 60


def test_failures_are_seen_and_clients_that_left_are_none(home, ask):
    texts = [row["text"] for row in rows_of("label", 80, seed=7)]
    ask(texts[:40], error="client_gone")
    assert signs(home)["errors"].seen is None
    ask(texts[:40])
    assert signs(home)["errors"].seen == 0.0
    ask(texts, error="engine_hangs")
    assert signs(home)["errors"].alarm


def test_scores_that_fall_are_seen_and_of_one_user_twenty_count(home, ask):
    texts = [f"t{n}" for n in range(160)]
    ask(texts[:40], scores=[1.0] * 40)
    ask(texts[:100], scores=[0.0] * 100, user="ann")
    sign = signs(home)["scores"]
    assert (sign.num_seen, sign.expected, sign.seen, sign.alarm) == (20, 1.0, 0.0, False)
    ask(texts[:20], scores=[0.0] * 20, user="bob")
    sign = signs(home)["scores"]
    assert sign.num_seen == 40
    assert sign.alarm


def test_the_last_look_is_kept_for_a_server_to_show(home, ask):
    ask(STRANGE)
    signs(home)
    with open_home(home) as opened:
        found = opened.refreshes.drift()["small@1"]
    assert {sign["name"] for sign in found["signs"] if sign["alarm"]} == {
        *("inputs", "words", "labels")
    }
    assert found["looked_at"]


def test_drift_makes_a_refresh_due_once_for_the_same_news(home, ask, task):
    ask(STRANGE)
    drifting = replace(task, refresh=replace(task.refresh, on_drift=True))
    with open_home(home) as opened:
        champion = find_release(opened, "small")
        now = now_utc()
        assert why_due(task, champion, opened, now) is None
        due = why_due(drifting, champion, opened, now)
        assert due == "drift of inputs, words, labels"
    refresh(drifting, home=home)
    with open_home(home) as opened:
        assert why_due(drifting, champion, opened, now) is None


@pytest.fixture
def refreshed(home: Path, task: Task) -> Path:
    """A home whose champion was made by a refresh: the release again, marked so."""
    with open_home(home) as opened:
        first = find_release(opened, "small")
        marked = replace(first, verdict={**first.verdict, "refreshed": {"way": "examples"}})
        opened.releases.add(marked, promotions(opened, "small", 0, "champion", "refreshed", None))
        key = refreshing.job_key(task, first, opened)
        job = opened.refreshes.begin("small", key, "asked for")
        opened.refreshes.end(job.id, "done", {"way": "examples", "release": "small@2"})
    return home


def test_a_refreshed_release_that_users_score_lower_gives_its_place_back(refreshed, ask, task):
    texts = [f"t{n}" for n in range(60)]
    ask(texts, scores=[1.0] * 50 + [0.0] * 10)
    ask(texts[:10], release="small@2", scores=[0.0] * 10)
    assert refresh_due(home=refreshed) == [], "ten scores show nothing yet"
    ask(texts, release="small@2", scores=[0.0] * 40 + [1.0] * 20)
    [done] = refresh_due(home=refreshed)
    assert done.release is not None
    assert done.release.id == "small@1"
    assert done.sentence.startswith("Rolled back: users scored small@2 0.29 over 70 answers")
    with open_home(refreshed) as opened:
        assert opened.releases.aliases("small") == {"champion": 1, "previous": 2}
        assert opened.releases.log("small")[-2].why == done.sentence
    again = refresh(task, home=refreshed)
    assert again.sentence.endswith("what is new now made small@2, which was rolled back.")


def test_one_that_users_score_alike_stays_and_so_does_one_whose_task_says_so(
    refreshed, ask, monkeypatch
):
    texts = [f"t{n}" for n in range(60)]
    ask(texts, scores=[1.0] * 50 + [0.0] * 10)
    ask(texts, release="small@2", scores=[1.0, 1.0, 1.0, 1.0, 0.0] * 12)
    assert refresh_due(home=refreshed) == []
    ask(texts, release="small@2", scores=[0.0] * 60)
    monkeypatch.setattr(watching, "_may_roll_back", lambda _release, _home: False)
    assert refresh_due(home=refreshed) == []


def test_no_worse_release_is_rolled_back_in_more_studies_than_is_said(monkeypatch):
    monkeypatch.setattr(watching.drift, "FALSE_ALARMS", 0.05)
    rng = np.random.default_rng(0)
    raised = 0
    for _ in range(200):
        drawn = (rng.random(210) < 0.8).astype(float).tolist()
        before, now = drawn[:60], drawn[60:]
        raised += any(watching.lower(before, now[:n]).alarm for n in (50, 100, 150))
    assert raised <= 20  # of 200 at 0.05: more in 1 of 1000 cases


@pytest.fixture
def shared(home: Path) -> Path:
    """A home in which a challenger answers a share of the requests."""
    with open_home(home) as opened:
        first = find_release(opened, "small")
        lines = promotions(opened, "small", 0, "challenger", "refreshed", {"share": 0.5})
        opened.releases.add(first, lines)
    return home


def test_a_challenger_that_users_score_lower_loses_its_share(shared, ask):
    texts = [f"t{n}" for n in range(60)]
    ask(texts, scores=[1.0, 1.0, 1.0, 0.0] * 15)
    assert refresh_due(home=shared) == []
    ask(texts, release="small@2", scores=[0.0, 0.0, 1.0, 0.0] * 15)
    [done] = refresh_due(home=shared)
    assert done.sentence.startswith("Rolled back: users scored small@2 0.25 and small@1 0.75 over")
    with open_home(shared) as opened:
        assert opened.releases.shared("small") is None
        assert opened.releases.aliases("small") == {"champion": 1}


def test_a_challenger_that_is_no_lower_is_promoted_once_enough_was_seen(shared, ask):
    texts = [f"t{n}" for n in range(59)]
    ask([*texts, "last"], scores=[1.0, 1.0, 1.0, 0.0] * 15)
    ask(texts, release="small@2", scores=[1.0] * 59)
    assert refresh_due(home=shared) == [], "59 scores are too few"
    ask(["last"], release="small@2", scores=[1.0])
    [done] = refresh_due(home=shared)
    assert done.sentence.startswith("Promoted: users scored small@2 1.00 and small@1 0.75 over 60")
    with open_home(shared) as opened:
        assert opened.releases.aliases("small") == {"champion": 2, "previous": 1}
        assert opened.releases.shared("small") is None


def test_scores_from_before_the_share_began_do_not_count(shared, ask):
    with open_home(shared) as opened:
        line = opened.releases.shared("small")
        assert line is not None
        opened.releases.promote([replace(line, time="2999-01-01T00:00:00+00:00")])
    texts = [f"t{n}" for n in range(60)]
    ask(texts, scores=[1.0] * 60)
    ask(texts, release="small@2", scores=[0.0] * 60)
    assert refresh_due(home=shared) == []


def test_while_a_challenger_has_a_share_no_refresh_is_due(shared, task):
    scheduled = replace(task, refresh=replace(task.refresh, every_hours=1e-9))
    with open_home(shared) as opened:
        champion = find_release(opened, "small")
        now = now_utc() + timedelta(hours=1)
        assert why_due(scheduled, champion, opened, now) is None
        none = [replace(opened.releases.log("small")[-1], version=None)]
        opened.releases.promote(none)
        assert why_due(scheduled, champion, opened, now) is not None


def test_no_worse_challenger_is_given_up_in_more_studies_than_is_said():
    rng = np.random.default_rng(1)
    raised = 0
    for _ in range(200):
        ours = (rng.random(150) < 0.8).astype(float).tolist()
        theirs = (rng.random(150) < 0.8).astype(float).tolist()
        p = watching.drift.paired_below("scores", ours, theirs, level=0.05)
        raised += p.alarm
    assert raised <= 20  # of 200 at 0.05: more in 1 of 1000 cases; p of the last is the least

"""Schedules are read off task files, without their rows."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fake_tasks import put_back, write_task
from steelyard.lifecycle import open_home, publish, refresh, rollback, status, weigh
from steelyard.lifecycle.publishing import promotions
from steelyard.lifecycle.scheduling import Schedules, is_due
from steelyard.tasks import load_task


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a published task, and a copy of it."""
    place = tmp_path_factory.mktemp("scheduled") / "task"
    task = load_task(write_task(place, "label"))
    weigh(task, home=place / "home", recipes=["nearest-shot", "few-shot"])
    publish(task, home=place / "home", recipe="nearest-shot")
    return place, Path(shutil.copytree(place, place.with_name("kept")))


@pytest.fixture
def folder(published: tuple[Path, Path]) -> Path:
    place, kept = published
    return put_back(kept, place)


def scheduled(folder: Path, rule: str) -> None:
    path = folder / "task.toml"
    path.write_text(path.read_text(encoding="utf-8") + f"\n[refresh]\n{rule}\n", encoding="utf-8")


def test_without_hours_and_drift_there_is_no_schedule(folder):
    with open_home(folder / "home") as opened:
        assert Schedules(opened).all() == []
        scheduled(folder, "canary = 0.1")
        assert Schedules(opened).all() == []
    assert status_of(folder) is None


def status_of(folder: Path):
    with open_home(folder / "home", lock=None) as opened:
        [one] = status(opened)
        return one.to_json()["schedule"]


def test_hours_count_from_publishing_and_then_from_the_last_refresh(folder):
    scheduled(folder, "every_hours = 2")
    with open_home(folder / "home") as opened:
        [one] = Schedules(opened).all()
        [release] = opened.releases.all()
    published = datetime.fromisoformat(release.created_at)
    assert one.at == published + timedelta(hours=2)
    assert not one.is_due(published + timedelta(hours=1.9))
    assert one.is_due(published + timedelta(hours=2))
    assert (one.begun, one.looks) == (False, False)
    refresh(load_task(folder / "task.toml"), home=folder / "home")
    with open_home(folder / "home") as opened:
        [again] = Schedules(opened).all()
        [job] = opened.refreshes.all()
    assert again.at == datetime.fromisoformat(job.ended_at) + timedelta(hours=2)
    assert status_of(folder) == {
        "every_hours": 2.0,
        "on_drift": False,
        "due_at": again.at.isoformat(timespec="seconds"),
    }


def test_a_clock_that_went_back_makes_it_due():
    at = datetime(2026, 5, 2, tzinfo=UTC)
    assert [is_due(24, at, at + timedelta(hours=some)) for some in (-25, -23, 0, 1)] == [
        *(True, False, True, True)
    ]


def test_one_that_was_interrupted_is_due_and_drift_is_looked_for(folder):
    scheduled(folder, "on_drift = true")
    with open_home(folder / "home") as opened:
        [one] = Schedules(opened).all()
        assert (one.at, one.begun, one.looks, one.is_due(datetime.now(UTC))) == (
            *(None, False, True, False),
        )
        opened.refreshes.begin("small", "key", "drift")
        [begun] = Schedules(opened).all()
        assert begun.is_due(datetime.now(UTC))


def test_while_a_canary_runs_it_is_looked_at_and_nothing_else_is_due(folder):
    scheduled(folder, "every_hours = 1")
    task = load_task(folder / "task.toml")
    publish(task, home=folder / "home", recipe="few-shot", alias="challenger")
    with open_home(folder / "home") as opened:
        lines = promotions(opened, "small", 2, "challenger", "refreshed", {"share": 0.5})
        opened.releases.promote(lines)
        [one] = Schedules(opened).all()
        assert (one.at, one.looks) == (None, True)


def test_a_task_file_that_is_gone_or_wrong_has_none(folder):
    scheduled(folder, "every_hours = 1")
    with open_home(folder / "home") as opened:
        schedules = Schedules(opened)
        assert len(schedules.all()) == 1
        (folder / "task.toml").write_text("name = ", encoding="utf-8")
        assert schedules.all() == []
        (folder / "task.toml").unlink()
        assert schedules.all() == []


def test_a_name_that_was_rolled_back_is_scheduled_as_its_champion_is(folder):
    scheduled(folder, "every_hours = 1")
    task = load_task(folder / "task.toml")
    publish(task, home=folder / "home", recipe="few-shot")
    rollback("small", home=folder / "home")
    with open_home(folder / "home") as opened:
        [one] = Schedules(opened).all()
        [first] = [release for release in opened.releases.all() if release.version == 1]
    assert one.at == datetime.fromisoformat(first.created_at) + timedelta(hours=1)

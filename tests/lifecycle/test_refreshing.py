"""A refresh takes the least that is shown to help on new rows, and does no harm on the old."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import put_back, rows_of, write_rows, write_task
from steelyard.core import Example, Task
from steelyard.errors import HomeError, ReleaseError
from steelyard.lifecycle import (
    find_release,
    learn,
    open_home,
    open_release,
    publish,
    refresh,
    refresh_due,
    refreshing,
    reviewing,
    rollback,
    weigh,
)
from steelyard.lifecycle.releases import read_snapshot
from steelyard.lifecycle.renewing import everyones
from steelyard.models.fake import FakeBackend
from steelyard.tasks import load_task

NEW_WORDS = ("router", "modem", "wifi", "cable", "signal")


def tickets(number: int, label: str, words: Sequence[str] = NEW_WORDS) -> list[dict[str, Any]]:
    """Rows about something of which nobody spoke before."""
    rng = random.Random(f"{label}:{number}")
    return [
        {"text": f"{' '.join(rng.sample(list(words), 3))} m{n}", "target": label}
        for n in range(number)
    ]


def write(place: Path) -> None:
    """Train, dev and test in files of their own."""
    rows = rows_of("label", 100, noise=0.0)
    path = write_task(place, "label", rows=[])
    text = path.read_text(encoding="utf-8").replace(
        'files = ["rows.jsonl"]', 'train = "train.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"'
    )
    tolerance = "\n[score]\ntolerance = 0.06\n"  # one of 20 old rows may go the other way
    path.write_text(text + tolerance, encoding="utf-8")
    for name, part in (("train", rows[:60]), ("dev", rows[60:80]), ("test", rows[80:])):
        write_rows(place / f"{name}.jsonl", part)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task that nobody weighed."""
    write(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with the task, weighed and published with nearest examples, and a copy of it."""
    place = tmp_path_factory.mktemp("released") / "task"
    write(place)
    served(place)
    return place, Path(shutil.copytree(place, place.with_name("kept")))


@pytest.fixture
def published(released: tuple[Path, Path]) -> Path:
    """The same folder as it was then."""
    place, kept = released
    return put_back(kept, place)


def read(folder: Path) -> Task:
    return load_task(folder / "task.toml")


def served(folder: Path, recipe: str = "nearest-shot") -> Path:
    weigh(read(folder), home=folder / "home", recipes=[recipe])
    publish(read(folder), home=folder / "home", recipe=recipe)
    return folder / "home"


def add(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> None:
    path = folder / f"{name}.jsonl"
    old = path.read_text(encoding="utf-8")
    write_rows(path, rows)
    path.write_text(old + path.read_text(encoding="utf-8"), encoding="utf-8")


def test_where_nothing_changed_nothing_is_measured_or_published(published):
    home = published / "home"
    done = refresh(read(published), home=home)
    assert (done.way, done.release) == ("nothing", None)
    assert done.sentence == "Nothing changed for small@1 since it was published."
    with open_home(home) as opened:
        assert len(opened.releases.all()) == 1
        [job] = opened.refreshes.all("small")
        assert (job.status, job.body["way"]) == ("done", "nothing")


@pytest.mark.parametrize(("recipe", "way"), [("nearest-shot", "examples"), ("lora", "weights")])
def test_new_rows_are_taken_up_by_what_the_recipe_has(folder, recipe, way):
    home = served(folder, recipe)
    add(folder, "train", tickets(30, "login")[:15])
    add(folder, "dev", tickets(30, "login")[15:])
    done = refresh(read(folder), home=home)
    assert done.way == way
    assert done.release is not None
    assert done.release.id == "small@2"
    assert done.sentence.startswith("Refreshing ")
    found = {one["way"]: one for one in done.body["ways"]}
    assert found[way]["new"]["difference"] > 0.2
    assert found[way]["new"]["p_adjusted"] < 0.05
    assert found[way]["old"]["num_examples"] == 20
    with open_home(home) as opened:
        assert opened.releases.aliases("small") == {"champion": 2, "previous": 1}
        evidence = opened.releases.log("small")[-2].evidence
        assert evidence["way"] == way
        answer = open_release(find_release(opened, "small"), opened).system.answer("wifi router m")
        assert answer.value == "login"
        before = open_release(find_release(opened, "small@1"), opened)
        assert len(before.task.train) == 60
    assert refresh(read(folder), home=home).sentence.startswith("Nothing changed for small@2")
    assert rollback("small", home=home).id == "small@1"


def test_poisoned_rows_are_not_promoted_because_of_the_old_ones(published):
    home = published / "home"
    known = [row["text"] for row in rows_of("label", 100, noise=0.0)]
    poison = [{"text": f"{text} really now", "target": "billing"} for text in known[:80]]
    asked = [{"text": f"{text} really", "target": "billing"} for text in known[:60]]
    add(published, "train", poison)
    add(published, "dev", asked)
    done = refresh(read(published), home=home)
    [_, tried] = done.body["ways"]
    assert tried["new"]["difference"] > 0
    assert tried["standing"] == "worse on the old rows"
    assert (done.way, done.release) == ("nothing", None)
    assert "worse on the old rows" in done.sentence


def test_without_new_rows_nothing_is_shown_and_nothing_done(published):
    home = published / "home"
    add(published, "train", tickets(10, "login"))
    done = refresh(read(published), home=home)
    assert done.way == "nothing"
    assert "0 new rows of dev" in done.sentence


def test_accepted_answers_become_examples_and_some_of_them_are_only_measured_on(published):
    home = published / "home"
    with open_home(home) as opened:
        for number, row in enumerate(tickets(40, "login")):
            for user in ("ann", "bob") if number % 2 else (None,):
                learn(read(published), opened, row["text"], "login", user=user)
    done = refresh(read(published), home=home)
    assert done.way == "examples"
    assert done.body["num_new"] + done.body["num_learned"] == 40
    assert done.body["num_new"] >= 5
    assert refresh(read(published), home=home).sentence.startswith("Nothing changed")
    with open_home(home) as opened:
        task, _ = read_snapshot(find_release(opened, "small"), opened)
        learned = {example.input for example in task.train}
        assert not learned & {example.input for example in task.dev}
        assert len(task.train) == 60 + done.body["num_learned"]
        assert reviewing.forget(opened, "ann").releases == ("small@2",)
        assert reviewing.forget(opened, "eve").releases == ()


def test_what_one_user_accepted_is_nobody_elses():
    def said(number: int, target: str, user: str | None, text: str = "hi") -> Example:
        return Example(f"accepted-{number}", text, target, f"accepted-{number}", user)

    assert everyones([said(1, "a", "ann")]) == []
    [one] = everyones([said(1, "a", "ann"), said(2, "a", "bob"), said(3, "b", "eve")])
    assert (one.target, one.user, one.metadata) == ("a", None, {"users": ["ann", "bob"]})
    [one] = everyones([said(1, "a", None), said(4, "b", "ann"), said(5, "b", "bob")])
    assert one.target == "b"


def test_a_refresh_that_was_killed_goes_on_and_asks_nothing_twice(folder, monkeypatch):
    home = served(folder, "lora")
    add(folder, "train", tickets(30, "login")[:15])
    add(folder, "dev", tickets(30, "login")[15:])

    def killed(*_args: Any, **_named: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "choose", killed)
        with pytest.raises(KeyboardInterrupt):
            refresh(read(folder), home=home)
    asked: list[int] = []
    choose_labels = FakeBackend.choose_labels

    def counted(self: Any, prompts: Any, *rest: Any) -> Any:
        asked.append(len(prompts))
        return choose_labels(self, prompts, *rest)

    generate = FakeBackend.generate

    def counted_too(self: Any, prompts: Any, *rest: Any) -> Any:
        asked.append(len(prompts))
        return generate(self, prompts, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(FakeBackend, "choose_labels", counted)
        patch.setattr(FakeBackend, "generate", counted_too)
        [done] = refresh_due(home=home)
    assert done.release is not None
    assert sum(asked) == 35  # the parity of the new release alone
    with open_home(home) as opened:
        [job] = opened.refreshes.all("small")
        assert job.status == "done"


def test_a_second_refresh_is_told_since_when_the_first_runs(published):
    home = published / "home"
    with open_home(home) as opened:
        opened.refreshes.begin("small", "k", "asked for", now="2026-05-01T00:00:00+00:00")
        told = r"small: a refresh of it began at 2026-05-01.*another steelyard is working"
        with pytest.raises(HomeError, match=told):
            refresh(read(published), home=home)


def test_one_that_was_begun_with_something_else_is_given_up(published):
    home = published / "home"
    with open_home(home) as opened:
        opened.refreshes.begin("small", "of an earlier day", "asked for")
    refresh(read(published), home=home)
    with open_home(home) as opened:
        assert [job.status for job in opened.refreshes.all("small")] == ["done", "given up"]


def test_one_that_fails_is_written_down_and_the_champion_stays(published, monkeypatch):
    home = published / "home"
    add(published, "train", tickets(30, "login")[:15])
    add(published, "dev", tickets(30, "login")[15:])

    def refused(*_args: Any, **_named: Any) -> Any:
        raise ReleaseError("small: it answers otherwise")

    monkeypatch.setattr(refreshing, "add_release", refused)
    with pytest.raises(ReleaseError, match=r"small@1 stays the champion\. small: it answers"):
        refresh(read(published), home=home)
    with open_home(home) as opened:
        [job] = opened.refreshes.all("small")
        assert job.status == "failed"
        assert "answers otherwise" in job.body["sentence"]
        assert opened.releases.aliases("small") == {"champion": 1}


def test_a_schedule_that_was_missed_many_times_runs_once(folder):
    path = folder / "task.toml"
    more = "\n[refresh]\nevery_hours = 24\n"
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    home = served(folder)
    assert refresh_due(home=home) == []
    later = datetime.now(UTC) + timedelta(days=9)
    [done] = refresh_due(home=home, now=later)
    assert done.sentence.startswith("Nothing changed")
    with open_home(home) as opened:
        [job] = opened.refreshes.all("small")
        assert job.why == "every 24 hours"
    soon = datetime.now(UTC) + timedelta(hours=23)
    assert refresh_due(home=home, now=soon) == []
    before = datetime.now(UTC) - timedelta(days=400)
    assert len(refresh_due(home=home, now=before)) == 1, "a clock that went back"


def test_a_task_file_that_is_wrong_by_now_is_told_and_stops_no_other(published):
    home = published / "home"
    (published / "task.toml").write_text("name = 3", encoding="utf-8")
    [done] = refresh_due(home=home)
    assert (done.way, done.release) == ("nothing", None)
    assert "task.toml" in done.sentence


def test_with_a_canary_what_is_refreshed_is_the_challenger_with_a_share(folder):
    path = folder / "task.toml"
    text = path.read_text(encoding="utf-8") + "\n[refresh]\ncanary = 0.25\n"
    path.write_text(text, encoding="utf-8")
    home = served(folder)
    add(folder, "train", tickets(30, "login")[:15])
    add(folder, "dev", tickets(30, "login")[15:])
    done = refresh(read(folder), home=home)
    assert (done.way, done.body["alias"]) == ("examples", "challenger")
    with open_home(home) as opened:
        assert opened.releases.aliases("small") == {"champion": 1, "challenger": 2}
        line = opened.releases.shared("small")
        assert line is not None
        assert line.evidence["share"] == 0.25
    again = refresh(read(folder), home=home)
    assert again.sentence.endswith("made small@2, which is tried on a share of the requests.")


# ---------------------------------------------------------------- documents


def inns(folder: Path, keepers: dict[str, str], asked: dict[str, Sequence[str]]) -> Path:
    """Documents that say who keeps which inn, and rows that ask."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inns").mkdir(exist_ok=True)
    for inn, keeper in keepers.items():
        text = f"The keeper of the {inn} inn is called {keeper}."
        (folder / "inns" / f"{inn}.md").write_text(text, encoding="utf-8")
    for name, form in (("train", "{} keeper?"), ("dev", "Who keeps {}?"), ("test", "Who is {}?")):
        rows = [{"text": form.format(inn), "target": keepers[inn]} for inn in asked[name]]
        write_rows(folder / f"{name}.jsonl", rows)
    path = write_task(folder, "text", rows=[])
    text = path.read_text("utf-8").replace(
        'files = ["rows.jsonl"]', 'train = "train.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"'
    )
    more = '[score]\nscorer = "contains"\n\n[knowledge]\ndocuments = ["inns/"]\n'
    path.write_text(f"{text}\n{more}", encoding="utf-8")
    return folder


def test_changed_documents_are_refreshed_by_the_index_and_the_one_before_keeps_its_own(tmp_path):
    names = [f"{a}{b}" for a in ("rome", "oslo", "quito", "lima") for b in "abcdefghij"]
    keepers = {inn: f"keeper{inn}" for inn in names}
    asked = {"train": names[:10], "dev": names, "test": names[:10]}
    folder = inns(tmp_path / "task", keepers, asked)
    home = served(folder, "rag")
    moved = {inn: f"other{inn}" for inn in names[20:]}
    inns(folder, keepers | moved, asked)
    done = refresh(read(folder), home=home)
    assert done.way == "index"
    assert (done.body["num_new"], done.body["num_old"]) == (20, 20)
    [_, index] = done.body["ways"]
    assert index["new"]["difference"] == 1.0
    assert index["old"]["difference"] == 0.0
    with open_home(home) as opened:
        new = open_release(find_release(opened, "small"), opened)
        old = open_release(find_release(opened, "small@1"), opened)
        assert "otherlimaa" in new.system.answer("Who keeps limaa?").text
        assert "keeperlimaa" in old.system.answer("Who keeps limaa?").text
        assert (new.stale, old.stale) == ((), ())
    with open_home(home) as opened:  # as a refresh leaves it that is killed and never goes on
        opened.refreshes.begin("small", "of an earlier day", "asked for")
        (home / "knowledge" / "small.r2.db").touch()
    assert refresh(read(folder), home=home).sentence.startswith("Nothing changed for small@2")
    assert sorted(f.name for f in (home / "knowledge").glob("*.db")) == ["small.db", "small.r1.db"]

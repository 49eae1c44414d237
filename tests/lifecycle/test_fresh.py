"""Freshness of a weighed task whose facts change, and what refreshing brings, with the fake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import write_rows, write_task
from steelyard.core import Task
from steelyard.errors import InputError
from steelyard.lifecycle import weigh
from steelyard.lifecycle.fresh import check_day
from steelyard.lifecycle.page import render
from steelyard.tasks import load_task

PLACES = [f"{a}{b}" for a in ("Rome", "Oslo", "Quito", "Lima", "Bonn", "Graz") for b in "abcdefgh"]
DAY = "2026-03-01"


def says(place: str, version: int) -> str:
    return f"The keeper of the {place} inn is called Keeper{version}{place}."


def moving(folder: Path) -> Task:
    """Every third inn gets another keeper in March. Train asks half of the inns before it and the
    other half after it, dev and test all of them after it."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = set(PLACES[::3])

    def asked(place: str, time: str, form: str) -> dict[str, Any]:
        version = 2 if place in changed and time >= DAY else 1
        return {
            "text": form.format(place), "target": says(place, version), "time": time,
            "evidence": place, "outdated": says(place, 1) if version == 2 else None,
        }  # fmt: skip

    documents = [
        {"id": place, "text": says(place, version), "valid_from": f"2026-0{version * 2 - 1}-01"}
        for place in PLACES
        for version in ((1, 2) if place in changed else (1,))
    ]
    train = [asked(place, "2026-02-01", "{} keeper?") for place in PLACES[::2]]
    train += [asked(place, "2026-04-01", "{} keeper?") for place in PLACES[1::2]]
    later = [f"2026-05-{1 + n % 28:02}" for n in range(len(PLACES))]
    for name, form in (("dev", "Who keeps {}?"), ("test", "Who is at {}?")):
        rows = [asked(p, time, form) for p, time in zip(PLACES, later, strict=True)]
        write_rows(folder / f"{name}.jsonl", rows)
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "documents.jsonl", documents)
    path = write_task(folder, "text", rows=[])
    text = path.read_text("utf-8").replace(
        'files = ["rows.jsonl"]',
        'train = "train.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"\ntime = "time"',
    )
    more = '[score]\nscorer = "contains"\n\n[knowledge]\ndocuments = ["documents.jsonl"]\n'
    path.write_text(f'{text}\n{more}evidence = "evidence"\n', encoding="utf-8")
    return load_task(path)


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("moving")
    task = moving(folder)
    found = weigh(
        task, home=folder / "home", recipes=["rag", "lora"], exhaustive=True, built_on="2026-02-15"
    )
    return json.loads(json.dumps(found.to_json()))


def entry(verdict: Any, name: str) -> Any:
    return next(one for one in verdict["freshness"]["recipes"] if one["recipe"] == name)


def option(verdict: Any, name: str) -> dict[str, Any]:
    recipes = verdict["freshness"]["refreshed"]["recipes"]
    one = next(one for one in recipes if one["recipe"] == name)
    return {option["refreshed"]: option for option in one["options"]}


def test_what_is_looked_up_is_never_stale_and_what_is_learned_is(verdict):
    assert verdict["freshness"]["cutoff"] == "2026-04-01"
    assert entry(verdict, "rag")["after"]["score"] == 1.0
    # The newest training row is of April and the facts changed in March: the column still says
    # which answers were right once.
    rag, lora = entry(verdict, "rag")["stale"], entry(verdict, "lora")["stale"]
    assert rag == {"count": 0, "of": 16}
    assert lora["of"] == 16
    assert 4 <= lora["count"] <= 8  # of the 8 that were asked before the change
    assert f"{lora['count']} are stale" in entry(verdict, "lora")["sentence"]


def test_refreshing_the_index_is_what_helps_retrieval(verdict):
    found = option(verdict, "rag")
    assert set(found) == {"nothing", "index"}  # it learned nothing that could be learned again
    assert found["nothing"]["score"] == pytest.approx(32 / 48)
    assert found["nothing"]["stale"] == {"count": 16, "of": 16}
    assert found["index"]["score"] == 1.0
    assert found["index"]["stale"]["count"] == 0
    assert found["index"]["difference"] == pytest.approx(16 / 48)
    assert found["index"]["difference_interval"][0] > 0
    [said] = [
        one["sentence"]
        for one in verdict["freshness"]["refreshed"]["recipes"]
        if one["recipe"] == "rag"
    ]
    assert said.startswith("rag: refreshing the index alone brings 0.333")


def test_retraining_is_what_helps_weights(verdict):
    found = option(verdict, "lora")
    assert set(found) == {"nothing", "weights"}
    assert found["weights"]["score"] > found["nothing"]["score"]
    assert found["weights"]["difference"] == pytest.approx(
        found["weights"]["score"] - found["nothing"]["score"]
    )


def test_the_report_draws_it(verdict):
    page = render(verdict)
    assert '<a href="#freshness">What time does to it</a>' in page
    assert f"{entry(verdict, 'lora')['stale']['count']} of 16" in page
    assert "What refreshing brings" in page
    assert "Days after the newest training row" in page


def test_a_task_without_times_has_no_freshness(tmp_path):
    task = load_task(write_task(tmp_path))
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"]).to_json()
    assert verdict["freshness"] is None
    assert 'id="freshness"' not in render(verdict)


@pytest.mark.parametrize(
    ("day", "said"),
    [
        ("spring", "--built-on spring: expected a date such as 2026-03-01"),
        ("2020-01-01", "0 training rows are of that day or before"),
        ("2030-01-01", "and 0 groups of dev after it"),
    ],
)
def test_a_day_that_divides_nothing_is_refused(tmp_path, day, said):
    with pytest.raises(InputError) as caught:
        check_day(moving(tmp_path), day)
    assert said in str(caught.value)

"""Recipes from shares of the labels: which rows, which runs, and what is drawn."""

from __future__ import annotations

from pathlib import Path

from fake_tasks import example, rows_of, trials, write_task
from steelyard.lifecycle import weigh
from steelyard.lifecycle.page import render
from steelyard.lifecycle.shares import share_of
from steelyard.tasks import load_task

TRAIN = [example(f"t{n}", "a", group=f"g{n // 2}") for n in range(40)]


def test_a_share_keeps_groups_whole_and_is_part_of_a_larger_one() -> None:
    small, large = (share_of(TRAIN, percent, 0) for percent in (25, 50))
    assert (len(small), len(large)) == (10, 20)
    assert {e.id for e in small} < {e.id for e in large}
    assert all(sum(e.group == g for e in small) == 2 for g in {e.group for e in small})
    assert [e.id for e in large] == [e.id for e in TRAIN if e in large]


def test_another_seed_draws_another_share_and_all_is_all() -> None:
    assert share_of(TRAIN, 25, 0) != share_of(TRAIN, 25, 1)
    assert share_of(TRAIN, 100, 0) == share_of(TRAIN, 100, 1) == tuple(TRAIN)
    assert len(share_of(TRAIN, 1, 0)) == 2


def test_recipes_are_built_from_shares_and_the_whole_is_not_measured_again(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, rows=rows_of("label", 120)))
    verdict = weigh(task, home=tmp_path / "home", sweep="labels=25%,100%", seed=range(2)).to_json()
    curves = {curve["recipe"]: curve for curve in verdict["label_curves"]}
    assert set(curves) == {"head", "nearest-shot", "lora"}
    drawn = {(p["num_labels"], p["seed"]) for p in curves["lora"]["points"]}
    assert drawn == {(18, 0), (72, 0), (18, 1), (72, 1)}
    # What is only looked up comes out the same for every seed when all of it is there.
    assert len(curves["nearest-shot"]["points"]) == 3
    on_dev = trials(tmp_path / "home", "dev")
    assert on_dev["lora[labels=25%]"] == 2 * len(task.dev)
    assert on_dev["lora"] == 2 * len(task.dev)
    for curve in curves.values():
        assert curve["prompt"]["recipe"] == "zero-shot"
        assert curve["law"]["b"] == curve["law"]["b"]
    page = render(verdict)
    assert '<a href="#labels">How many labels</a>' in page
    assert page.count('class="spread chosen"') >= 3
    again = weigh(task, home=tmp_path / "home", sweep="labels=25%,100%", seed=range(2)).to_json()
    assert again["label_curves"] == verdict["label_curves"]
    assert trials(tmp_path / "home", "dev") == on_dev


def test_without_a_sweep_there_is_no_curve(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path))
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"]).to_json()
    assert verdict["label_curves"] == []
    assert 'id="labels"' not in render(verdict)

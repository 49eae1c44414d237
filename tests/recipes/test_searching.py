"""Racing examples, orders and instructions on train: what runs, what wins, what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_tasks import example, make_task, recipe
from steelyard.core import Answer, Context, Example, Output, Query, Recipe, Score
from steelyard.errors import SearchError
from steelyard.recipes.finding import fixed_examples
from steelyard.recipes.searching import (
    CANDIDATES,
    FIRST_ROWS,
    MOST_ROWS,
    Ground,
    candidates,
    num_answers,
    race,
    rounds,
    split_train,
)
from steelyard.store import Database

TRAIN = [example(f"e{n}", f"text {n}", ("no", "yes")[n % 2], f"g{n // 2}") for n in range(60)]
TASK = make_task(TRAIN, Output("label", ("no", "yes")))
SEARCHED = recipe("searched-shot", context=Context(examples="searched", num_examples=4))
Right = Callable[[Recipe, str], bool | None]


@dataclass
class Runner:
    """Opens systems that answer rightly as `right` says, None being an error."""

    right: Right
    asked: list[tuple[Recipe, list[str]]] = field(default_factory=list)
    most_calls: int | None = None

    def __call__(self, one: Recipe) -> Any:
        return _System(one, self)


@dataclass
class _System:
    recipe: Recipe
    runner: Runner

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        if len(self.runner.asked) == self.runner.most_calls:
            raise KeyboardInterrupt
        self.runner.asked.append((self.recipe, [str(query.example) for query in queries]))
        found = [self.runner.right(self.recipe, str(query.example)) for query in queries]
        return [Answer("", error="lost") if ok is None else Answer(float(ok)) for ok in found]


def grade(answer: Answer, _example: Example) -> Score:
    return Score(answer.value)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "steelyard.db")
    yield opened
    opened.close()


def ground(database: Database, runner: Runner, **more: Any) -> Ground:
    fields: dict[str, Any] = {"task": TASK, "open": runner, "grade": grade, "key": ["k"], "seed": 0}
    return Ground(database=database, **fields | more)


def half_right(_recipe: Recipe, example: str) -> bool:
    return int(example[1:]) % 2 == 0


# ---------------------------------------------------------------- the course


@given(st.lists(st.integers(0, 12), min_size=1, max_size=200), st.integers(0, 3))
def test_no_group_is_both_shown_and_answered(groups: list[int], seed: int) -> None:
    rows = [example(f"e{n}", "x", group=f"g{group}") for n, group in enumerate(groups)]
    task = make_task(rows, Output("text"))
    try:
        pool, course = split_train(task, seed)
    except SearchError:
        sizes = [groups.count(group) for group in set(groups)]
        assert len(sizes) < 4 or min(sizes) > len(groups) // 2
        return
    assert {e.id for e in pool} | {e.id for e in course} == {e.id for e in rows}
    assert {e.group for e in pool} & {e.group for e in course} == set()
    assert 1 <= len(course) <= min(MOST_ROWS, len(rows) // 2)
    assert (pool, course) == split_train(task, seed)


def test_three_groups_are_too_few_to_search_on():
    with pytest.raises(SearchError, match="train has 3 groups of rows and a search needs 4"):
        split_train(replace(TASK, train=tuple(TRAIN[:6])), 0)


# ---------------------------------------------------------------- the candidates


def test_the_first_candidate_is_what_would_be_shown_without_a_search():
    pool, _ = split_train(TASK, 0)
    first = candidates(SEARCHED, TASK, pool, seed=0)[0]
    assert first.context == replace(
        SEARCHED.context,
        examples="fixed",
        shots=tuple(e.id for e in fixed_examples(pool, 4, seed=0)),
    )
    assert first.name == "searched-shot"


def test_candidates_are_different_subsets_of_the_pool_each_in_two_orders():
    pool, _ = split_train(TASK, 0)
    found = [one.context.shots for one in candidates(SEARCHED, TASK, pool, seed=0)]
    assert len(set(found)) == CANDIDATES
    assert {shot for shots in found for shot in shots} <= {e.id for e in pool}
    for a, b in zip(found[::2], found[1::2], strict=True):
        assert sorted(a) == sorted(b)
    assert len({tuple(sorted(shots)) for shots in found}) == CANDIDATES // 2


def test_subsets_take_the_instructions_in_turn_the_tasks_own_first():
    task = replace(TASK, instructions=("B", "C"))
    pool, _ = split_train(task, 0)
    found = [one.context.instruction for one in candidates(SEARCHED, task, pool, seed=0)]
    assert found == [w for w in (None, "B", "C", None, "B", "C", None, "B") for _ in range(2)]


def test_a_pool_as_small_as_a_prompt_gives_orders_alone():
    found = candidates(SEARCHED, TASK, TRAIN[:2], seed=0)
    assert {one.context.shots for one in found} <= {("e0", "e1"), ("e1", "e0")}
    assert {one.context.num_examples for one in found} == {2}


# ---------------------------------------------------------------- the race


@pytest.mark.parametrize("winner", [0, 5, 15])
def test_the_best_choice_wins_wherever_it_starts(database, winner):
    pool, course = split_train(TASK, 0)
    best = candidates(SEARCHED, TASK, pool, seed=0)[winner]
    runner = Runner(lambda one, id: one == best or half_right(one, id))
    found = race(SEARCHED, ground(database, runner))
    assert found.recipe == best
    assert found.note == (
        f"searched-shot shows {', '.join(best.context.shots)}: the best of 16 choices on "
        f"{len(course)} rows of train."
    )


def test_of_equals_the_plain_choice_stays(database):
    pool, _ = split_train(TASK, 0)
    found = race(SEARCHED, ground(database, Runner(half_right)))
    assert found.recipe == candidates(SEARCHED, TASK, pool, seed=0)[0]


def test_an_instruction_can_win_and_is_named(database):
    task = replace(TASK, instructions=("B",))
    runner = Runner(lambda one, id: one.context.instruction == "B" or half_right(one, id))
    found = race(SEARCHED, ground(database, runner, task=task))
    assert found.recipe.context.instruction == "B"
    assert found.note is not None
    assert " after instruction 2: " in found.note


def test_only_rows_of_the_course_are_answered_and_as_many_as_were_said(database):
    told: list[tuple[int, int]] = []
    runner = Runner(half_right)
    race(SEARCHED, ground(database, runner, told=lambda *both: told.append(both)))
    _, course = split_train(TASK, 0)
    asked = [id for _, ids in runner.asked for id in ids]
    assert set(asked) == {e.id for e in course}
    total = num_answers(CANDIDATES, rounds(len(course)))
    assert len(asked) == total
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    sizes = [len(ids) for _, ids in runner.asked]
    assert sizes[:CANDIDATES] == [FIRST_ROWS] * CANDIDATES


@given(st.integers(1, 200))
def test_rounds_end_with_the_whole_course_and_never_shrink(num_rows: int) -> None:
    sizes = rounds(num_rows)
    assert sizes[-1] == num_rows
    assert sizes == sorted(set(sizes))
    assert num_answers(1, sizes) == num_rows


def test_a_row_that_somebody_cannot_answer_counts_for_nobody(database):
    pool, course = split_train(TASK, 0)
    field = candidates(SEARCHED, TASK, pool, seed=0)
    lost = {e.id for e in course[:4]}

    def right(one: Recipe, id: str) -> bool | None:
        if id in lost:
            return None if one == field[0] else True  # a zero would put the first one last
        return one == field[0] or half_right(one, id)

    assert race(SEARCHED, ground(database, Runner(right))).recipe == field[0]


def test_a_search_without_any_answer_is_an_error(database):
    with pytest.raises(SearchError, match="no row of train was answered by every choice"):
        race(SEARCHED, ground(database, Runner(lambda *_: None)))


# ---------------------------------------------------------------- the same again


def test_an_interrupted_race_goes_on_and_ends_the_same(database, tmp_path):
    other = Database(tmp_path / "other.db")
    whole = Runner(half_right)
    expected = race(SEARCHED, ground(other, whole))
    other.close()
    first = Runner(half_right, most_calls=9)
    with pytest.raises(KeyboardInterrupt):
        race(SEARCHED, ground(database, first))
    second = Runner(half_right)
    found = race(SEARCHED, ground(database, second))
    assert found.recipe == expected.recipe
    assert first.asked + second.asked == whole.asked
    third = Runner(half_right)
    assert race(SEARCHED, ground(database, third)) == found  # its seconds too
    assert third.asked == []


def test_another_model_seed_or_task_races_anew(database):
    race(SEARCHED, ground(database, Runner(half_right)))
    for change in ({"key": ["other"]}, {"seed": 1}):
        again = Runner(half_right)
        race(SEARCHED, ground(database, again, **change))
        assert again.asked


def test_the_deadline_ends_a_race_and_keeps_what_it_has(database):
    runner = Runner(half_right)
    with pytest.raises(SearchError, match="the time limit came before its search") as caught:
        race(SEARCHED, ground(database, runner, deadline=time.monotonic() - 1))
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert runner.asked == []
    found = race(SEARCHED, ground(database, runner))
    assert race(SEARCHED, ground(database, runner, deadline=time.monotonic() - 1)) == found

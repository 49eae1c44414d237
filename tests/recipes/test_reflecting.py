"""Instructions rewritten by a reflection model: what it reads, what wins, what is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import example, make_task, recipe
from steelyard.core import Answer, Context, Example, ModelSpec, Output, Query, Recipe, Score, Usage
from steelyard.errors import SearchError
from steelyard.models import Generation, Prompt, Sampling
from steelyard.recipes.reflecting import NUM_ANSWERS, NUM_COURSE, REPLY_TOKENS, reflect
from steelyard.recipes.searching import Ground, split_train
from steelyard.store import Database

TRAIN = [example(f"e{n}", f"text {n}", ("no", "yes")[n % 2]) for n in range(80)]
TASK = make_task(TRAIN, Output("label", ("no", "yes")), instruction="Say it.")
GEPA = recipe("gepa", context=Context(reflection="big"))
BIG = ModelSpec("big", "big-1", url="http://127.0.0.1:9/v1")


@dataclass
class Runner:
    """Systems that are right on even rows, and on all of them with the better instruction."""

    better: str = "Say it well."
    asked: list[tuple[str | None, list[str]]] = field(default_factory=list)
    most_calls: int | None = None

    def __call__(self, one: Recipe) -> Any:
        assert one.context.reflection is None
        return _System(one, self)


@dataclass
class _System:
    recipe: Recipe
    runner: Runner

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        if len(self.runner.asked) == self.runner.most_calls:
            raise KeyboardInterrupt
        said = self.recipe.context.instruction
        ids = [str(query.example) for query in queries]
        self.runner.asked.append((said, ids))
        good = said == self.runner.better
        return [Answer(float(good or int(id[1:]) % 2 == 0), text=f"my {id}") for id in ids]


@dataclass
class Muse:
    """A reflection model that always says the same."""

    says: str = "So:\n```\nSay it well.\n```"
    error: str | None = None
    asked: list[tuple[Prompt, Sampling]] = field(default_factory=list)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        self.asked += [(prompt, sampling) for prompt in prompts]
        return [Generation(self.says, usage=Usage(100, 40, 7), error=self.error) for _ in prompts]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "steelyard.db")
    yield opened
    opened.close()


def grade(answer: Answer, _example: Example) -> Score:
    return Score(answer.value)


def ground(database: Database, runner: Runner, **more: Any) -> Ground:
    fields: dict[str, Any] = {"task": TASK, "open": runner, "grade": grade, "key": ["k"], "seed": 0}
    return Ground(database=database, **fields | more)


def test_a_better_instruction_is_found_and_what_it_took_is_counted(database):
    runner, muse = Runner(), Muse()
    found = reflect(GEPA, ground(database, runner), BIG, muse)
    assert found.recipe.context == Context(instruction="Say it well.")
    assert found.recipe.name == "gepa"
    assert found.note is not None
    assert 'gepa says "Say it well."' in found.note
    assert f"by big on {NUM_COURSE} rows of train, 1.000 against 0." in found.note
    assert found.usage == Usage(*(n * len(muse.asked) for n in (100, 40, 7)))
    assert found.seconds > 0


def test_the_reflection_model_reads_answers_scores_and_targets_of_train_alone(database):
    runner, muse = Runner(), Muse()
    reflect(GEPA, ground(database, runner), BIG, muse)
    [message], sampling = muse.asked[0]
    assert (sampling.max_tokens, sampling.schema) == (REPLY_TOKENS, None)
    assert "Say it." in message.content
    pool, course = split_train(TASK, 0)
    read = [e for e in TRAIN if f"my {e.id}\n" in message.content]
    assert {e.id for e in read} <= {e.id for e in pool}
    assert len(read) == 8
    assert all(f"The right answer is: {e.target}" in message.content for e in read)
    assert {id for _, ids in runner.asked for id in ids} <= {e.id for e in (*pool, *course)}
    assert sum(len(ids) for _, ids in runner.asked) <= NUM_ANSWERS + NUM_COURSE


def test_the_tasks_instruction_stays_where_no_other_is_better(database):
    found = reflect(GEPA, ground(database, Runner(better="never said")), BIG, Muse())
    assert found.recipe.context == Context()
    assert found.note is not None
    assert found.note.startswith("gepa keeps the task's instruction: none of ")


def test_a_reflection_model_that_fails_is_asked_once_and_is_no_result(database):
    muse = Muse(error="status 500, 4 times")
    with pytest.raises(SearchError, match="status 500, 4 times"):
        reflect(GEPA, ground(database, Runner()), BIG, muse)
    assert len(muse.asked) == 1


def test_an_interrupted_search_repeats_no_answer_and_no_reply(database, tmp_path):
    other = Database(tmp_path / "other.db")
    whole, replies = Runner(), Muse()
    expected = reflect(GEPA, ground(other, whole), BIG, replies)
    other.close()
    first, second = Runner(most_calls=3), Runner()
    before, after = Muse(), Muse()
    with pytest.raises(KeyboardInterrupt):
        reflect(GEPA, ground(database, first), BIG, before)
    found = reflect(GEPA, ground(database, second), BIG, after)
    assert (found.recipe, found.note, found.usage) == (
        expected.recipe,
        expected.note,
        expected.usage,
    )
    assert first.asked + second.asked == whole.asked
    assert before.asked + after.asked == replies.asked
    again, silent = Runner(), Muse(error="asked again")
    assert reflect(GEPA, ground(database, again), BIG, silent) == found
    assert (again.asked, silent.asked) == ([], [])


def test_the_deadline_ends_the_search(database):
    with pytest.raises(SearchError, match="the time limit") as caught:
        reflect(GEPA, ground(database, Runner(), deadline=time.monotonic() - 1), BIG, Muse())
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_nothing_is_printed(database, capfd):
    reflect(GEPA, ground(database, Runner()), BIG, Muse())
    assert capfd.readouterr() == ("", "")

"""Recipes become systems: the right shots, training once and never twice, fingerprints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import WORDS, example, make_task, rows_of
from steelyard.core import Limits, ModelSpec, Output, Query, Task
from steelyard.errors import TrainingError
from steelyard.measure.grading import Grader
from steelyard.models.fake import FakeBackend
from steelyard.recipes import Workshop, build, select
from steelyard.recipes.answering import CONTENT_FREE, PREPARED_WITH
from steelyard.recipes.finding import fixed_examples
from steelyard.recipes.lessons import training_job
from steelyard.recipes.presets import SHOTS
from steelyard.recipes.workshop import MOST_ALIKE, prompting
from steelyard.store import Artefacts, Database
from steelyard.training import Job, Progress

TRAIN = [example(f"e{n}", row["text"], row["target"]) for n, row in enumerate(rows_of("label", 40))]
TASK = make_task(TRAIN, Output("label", tuple(sorted(WORDS))), hash="1" * 64)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    database = Database(tmp_path / "steelyard.db")
    yield Workshop(
        database,
        Artefacts(tmp_path / "artefacts"),
        tmp_path / "jobs",
        seed=0,
        grade=Grader.of(TASK).grade,
    )
    database.close()


def named(name: str, task: Task = TASK) -> Any:
    return next(recipe for recipe in select(task) if recipe.name == name)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The key of each training that is really run."""
    module: Any = sys.modules[build.__module__]
    train, keys = module.train_in_child, []

    def counted(job: Any, folder: Path, **more: Any) -> Any:
        keys.append(job.key)
        return train(job, folder, **more)

    monkeypatch.setattr(module, "train_in_child", counted)
    return keys


# ---------------------------------------------------------------- every recipe


@pytest.mark.parametrize("name", [r.name for r in select(TASK) if r.name != "lora"])
def test_every_recipe_becomes_a_system_that_answers_with_a_label(workshop, name):
    built = build(named(name), TASK, workshop)
    assert built.system.recipe.name == name
    one, other = built.system.answer_many([Query("invoice charge"), Query("parcel courier")])
    assert {one.value, other.value} <= set(WORDS)
    assert (one.error, other.error) == (None, None)
    assert built.setup_seconds >= 0
    assert built.curve is None


def test_the_prompts_hold_the_tasks_instruction_and_the_recipes_shots(workshop):
    few = build(named("few-shot"), TASK, workshop).system
    [prompt] = few.prompts([Query("x")])
    shots = fixed_examples(TASK.train, SHOTS["label"], seed=0)
    assert prompt[0].content.startswith("Answer.\nAnswer with one of these labels")
    assert [m.content for m in prompt if m.role == "user"] == [*(s.input for s in shots), "x"]
    assert [m.content for m in prompt if m.role == "assistant"] == [s.target for s in shots]
    near = build(named("nearest-shot"), TASK, workshop).system
    [prompt] = near.prompts([Query(TRAIN[7].input)])
    assert prompt[-3].content == TRAIN[7].input  # the nearest example stands last


# ---------------------------------------------------------------- what is ready before


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What every fake backend was told to prepare for or to score, in order."""
    calls: list[tuple[str, Any]] = []
    score = FakeBackend.score_labels

    def keep(backend: FakeBackend, prompts: Any) -> None:
        calls.append(("keep", (backend.fingerprint, list(prompts))))

    def score_labels(backend: FakeBackend, prompts: Any, labels: Any) -> Any:
        calls.append(("score", list(prompts)))
        return score(backend, prompts, labels)

    monkeypatch.setattr(FakeBackend, "keep", keep)
    monkeypatch.setattr(FakeBackend, "score_labels", score_labels)
    return calls


@pytest.mark.parametrize("name", ["zero-shot", "few-shot", "nearest-shot"])
def test_a_system_is_prepared_once_when_it_is_built(workshop, prepared, name):
    system = build(named(name), TASK, workshop).system
    assert prepared == [("keep", (FakeBackend().fingerprint, system.prompts(PREPARED_WITH)))]


def test_a_system_is_prepared_before_it_is_calibrated(workshop, prepared):
    system = build(named("few-shot+calibrated"), TASK, workshop).system
    assert [call for call, _ in prepared] == ["keep", "score"]
    assert prepared[1][1] == system.prompts([CONTENT_FREE])
    assert system.prior is not None


def test_trained_weights_are_what_is_prepared(workshop, prepared):
    system = build(named("lora"), TASK, workshop).system
    [(_, (fingerprint, _))] = prepared
    assert fingerprint == system.backend.fingerprint != FakeBackend().fingerprint


def test_controls_have_nothing_to_prepare(workshop, prepared):
    build(named("majority"), TASK, workshop)
    build(named("tfidf"), TASK, workshop)
    assert prepared == []


# ---------------------------------------------------------------- fixed examples


def test_fixed_examples_are_the_same_for_the_same_seed_and_show_every_label_in_turn():
    pool = [example(f"e{n}", f"x{n}", "abc"[min(n // 18, 2)]) for n in range(40)]
    shots = fixed_examples(pool, 6, seed=0)
    assert shots == fixed_examples(pool, 6, seed=0)
    assert sorted(shot.target for shot in shots[:3]) == ["a", "b", "c"]
    assert sorted(shot.target for shot in shots[3:]) == ["a", "b", "c"]
    others = [[s.id for s in fixed_examples(pool, 6, seed=seed)] for seed in range(1, 5)]
    assert any(ids != [s.id for s in shots] for ids in others)


def test_fixed_examples_of_a_smaller_number_are_the_beginning_of_a_larger():
    whole = fixed_examples(TRAIN, 40, seed=3)
    assert sorted(e.id for e in whole) == sorted(e.id for e in TRAIN)
    assert all(fixed_examples(TRAIN, k, seed=3) == whole[:k] for k in range(41))
    assert fixed_examples(TRAIN, 99, seed=3) == whole
    assert fixed_examples([], 4, seed=3) == ()


# ---------------------------------------------------------------- training


def test_the_training_rows_are_the_prompts_that_serving_will_meet(workshop):
    recipe = named("lora")
    system = prompting(recipe, TASK, FakeBackend(), workshop)
    job, _ = training_job(system, TASK, workshop)
    built = build(recipe, TASK, workshop).system
    queries = [Query(e.input) for e in TASK.train]
    assert [row.prompt for row in job.rows] == built.prompts(queries)
    assert [row.target for row in job.rows] == [e.target for e in TASK.train]
    assert [row.group for row in job.rows] == [e.group for e in TASK.train]


def test_answers_may_resemble_the_first_targets_of_rows_that_are_nobodys_own(workshop):
    mine = replace(TASK.train[0], user="ann")
    task = replace(TASK, train=(mine, *TASK.train[1:]))
    system = prompting(named("few-shot"), task, FakeBackend(), workshop)
    wanted = [example.target for example in TASK.train[1 : 1 + MOST_ALIKE]]
    assert list(system.alike) == wanted


def test_the_memory_limit_goes_with_the_job_and_names_no_other_weights(workshop):
    tight = replace(TASK, limits=Limits(memory_gb=0.25))
    systems = [prompting(named("lora"), t, FakeBackend(), workshop) for t in (TASK, tight)]
    roomy, small = (
        training_job(s, t, workshop)[0] for s, t in zip(systems, (TASK, tight), strict=True)
    )
    assert (roomy.memory_gb, small.memory_gb) == (Limits().memory_gb, 0.25)
    assert small.key == roomy.key
    small.write(workshop.jobs / "one")
    assert Job.read(workshop.jobs / "one") == small


def test_what_was_trained_is_reused_and_a_spoilt_artefact_is_trained_again(workshop, children):
    heard: list[Progress] = []
    first = build(named("lora"), TASK, replace(workshop, log=heard.append))
    assert len(children) == 1
    assert heard
    assert first.setup_seconds > 0
    assert first.curve["points"]
    assert not list(workshop.jobs.iterdir())
    trained = first.system.backend.learned
    assert set(trained) <= {(e.input, e.target) for e in TRAIN}

    again = build(named("lora"), TASK, workshop)
    assert len(children) == 1
    assert (again.fingerprint, again.curve) == (first.fingerprint, first.curve)
    assert again.setup_seconds == first.setup_seconds
    assert again.system.backend.learned == trained

    [adapter] = workshop.artefacts.root.glob("*/fake_adapter.json")
    adapter.write_text("[]", encoding="utf-8")
    mended = build(named("lora"), TASK, workshop)
    assert children == [children[0]] * 2
    assert (mended.fingerprint, mended.system.backend.learned) == (first.fingerprint, trained)
    [adapter] = workshop.artefacts.root.glob("*/fake_adapter.json")
    assert adapter.read_text(encoding="utf-8") != "[]"


def test_training_past_the_deadline_is_given_up_because_of_time(workshop):
    late = replace(workshop, deadline=time.monotonic() - 1)
    slow = replace(TASK, models=(ModelSpec("slow", "fake:50"),))
    with pytest.raises(TrainingError, match="time limit") as caught:
        build(named("lora", slow), slow, late)
    assert isinstance(caught.value.__cause__, TimeoutError)


# ---------------------------------------------------------------- searching


def test_what_was_searched_for_is_found_again_and_shown(workshop):
    told: list[tuple[int, int]] = []
    search = replace(workshop, told=lambda *both: told.append(both))
    [searched] = [r for r in select(TASK, ["searched-shot"]) if r.name == "searched-shot"]
    first = build(searched, TASK, search)
    context = first.system.recipe.context
    assert (context.examples, len(context.shots)) == ("fixed", SHOTS["label"])
    [prompt] = first.system.prompts([Query("x")])
    shots = [next(e for e in TRAIN if e.id == id) for id in context.shots]
    assert [m.content for m in prompt if m.role == "user"] == [*(s.input for s in shots), "x"]
    assert first.note is not None
    assert f"shows {', '.join(context.shots)}: " in first.note
    assert told[-1][0] == told[-1][1]
    late = replace(workshop, deadline=time.monotonic() - 1)  # nothing is answered any more
    again = build(searched, TASK, late)
    assert (again.fingerprint, again.note) == (first.fingerprint, first.note)
    assert again.setup_seconds == first.setup_seconds > 0
    assert again.fingerprint != build(named("few-shot"), TASK, workshop).fingerprint


def test_an_instruction_of_its_own_is_what_the_prompt_begins_with(workshop):
    task = replace(TASK, instructions=("Sort it.",))
    built = build(named("zero-shot[instruction=2]", task), task, workshop)
    [prompt] = built.system.prompts([Query("x")])
    assert prompt[0].content.startswith("Sort it.\nAnswer with one of these labels")
    assert built.fingerprint != build(named("zero-shot", task), task, workshop).fingerprint
    assert built.note is None


# ---------------------------------------------------------------- what answers depend on


def test_a_fingerprint_changes_with_all_that_can_change_an_answer(workshop):
    plain = build(named("few-shot"), TASK, workshop).fingerprint
    assert build(named("few-shot"), TASK, workshop).fingerprint == plain
    cutting = replace(TASK, limits=Limits(too_long="truncate"))
    changed = [
        build(named("few-shot+calibrated"), TASK, workshop),
        build(named("few-shot"), replace(TASK, hash="2" * 64), workshop),
        build(named("few-shot"), TASK, replace(workshop, seed=1)),
        build(named("few-shot"), cutting, workshop),
        build(named("majority"), TASK, workshop),
    ]
    assert len({plain, *(built.fingerprint for built in changed)}) == 1 + len(changed)


def test_the_setup_time_of_the_first_build_stays(workshop):
    recipe = named("tfidf")
    first = build(recipe, TASK, workshop)
    assert build(recipe, TASK, workshop).setup_seconds == first.setup_seconds

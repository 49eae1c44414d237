"""What each stage of a recipe learns from, and a teacher that is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import WORDS, example, make_task, recipe, rows_of
from steelyard.core import Context, Decoding, Knowledge, Output, Preference, Task, Weights
from steelyard.errors import TrainingError
from steelyard.knowledge.fake import WordIndex
from steelyard.measure.grading import Grader
from steelyard.models import Generation, LabelChoice, Prompt
from steelyard.models.fake import FakeBackend
from steelyard.recipes import Lookup, Workshop, build, presets
from steelyard.recipes.lessons import training_job
from steelyard.recipes.teaching import BATCH
from steelyard.recipes.workshop import prompting
from steelyard.store import Artefacts, Database
from steelyard.training import Job

LABELS = Output("label", tuple(sorted(WORDS)))
TRAIN = [
    example(f"e{n}", row["text"], row["target"], group=f"g{n // 2}")
    for n, row in enumerate(rows_of("label", 40))
]
MORE = tuple(row["text"] for row in rows_of("label", 60, seed=9))
TASK = make_task(TRAIN, LABELS, unlabelled=(*MORE, TRAIN[0].input), hash="1" * 64)
BARE = Context(describe_output=False)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    database = Database(tmp_path / "steelyard.db")
    grade = Grader.of(TASK).grade
    artefacts = Artefacts(tmp_path / "artefacts")
    yield Workshop(database, artefacts, tmp_path / "jobs", seed=0, grade=grade)
    database.close()


def job_of(
    workshop: Workshop, *learn: Any, task: Task = TASK, backend: Any = None, **weights: Any
) -> Job:
    given = recipe(
        "r",
        context=BARE,
        decoding=Decoding("labels"),
        weights=Weights("lora", learn=learn, **weights),
    )
    system = prompting(given, task, FakeBackend() if backend is None else backend, workshop)
    return training_job(system, task, workshop)[0]


# ---------------------------------------------------------------- texts, pairs, context


def test_documents_are_learned_whole_each_once_in_their_order(workshop):
    lookup = Lookup(texts=(("a", "the mill"), ("b", "the barn"), ("c", "the mill")))
    job = job_of(replace(workshop, lookup=lookup), "documents", "examples")
    texts = job.stage_rows("documents")
    assert [(row.target, row.group, row.prompt) for row in texts] == [
        ("the mill", "a", ()),
        ("the barn", "b", ()),
    ]
    assert len(job.stage_rows("examples")) == len(TRAIN)


def test_inputs_are_those_of_train_and_those_without_targets_each_once(workshop):
    rows = job_of(workshop, "inputs").stage_rows("inputs")
    assert {row.target for row in rows} == {*MORE, *(e.input for e in TRAIN)}
    assert len(rows) == 100
    groups = {row.target: row.group for row in rows}
    assert groups[TRAIN[2].input] == TRAIN[2].group == groups[TRAIN[3].input]
    assert len({groups[text] for text in MORE}) == len(MORE)


def test_preferences_stand_after_the_prompt_that_serving_shows(workshop):
    pairs = (Preference("where is my parcel", "shipping", "billing", "p1"),)
    job = job_of(workshop, "preferences", task=replace(TASK, preferences=pairs))
    [row] = job.rows
    assert (row.target, row.rejected, row.group) == ("shipping", "billing", "p1")
    assert [message.content for message in row.prompt] == ["Answer.", "where is my parcel"]


@pytest.mark.parametrize("stage", ["documents", "preferences"])
def test_a_task_without_what_a_stage_needs_is_an_error_that_says_what_to_add(workshop, stage):
    with pytest.raises(TrainingError, match=f"r learns from {stage}, and the task has none. Name"):
        job_of(workshop, stage)


def test_where_evidence_is_withheld_a_task_that_may_abstain_teaches_to(workshop):
    rows = [
        replace(example(f"e{n}", f"who built mill {n}", "Ott"), evidence=(f"mill {n}",))
        for n in range(10)
    ]
    index = WordIndex.of({f"mill {n}": f"Ott built mill {n}" for n in range(10)})
    task = make_task(
        rows, Output("text"), knowledge=Knowledge((Path("d"),), abstain="I do not know.")
    )
    shop = replace(workshop, lookup=Lookup(documents=index))
    given = recipe(
        "r", context=replace(BARE, passages=2), weights=Weights("lora", evidence_share=0.7)
    )
    job, _ = training_job(prompting(given, task, FakeBackend(), shop), task, shop)
    targets = [row.target for row in job.rows]
    assert targets.count("I do not know.") == 3
    for number, row in enumerate(job.rows):
        there = f"Ott built mill {number}\n" in row.prompt[-1].content + "\n"
        assert (row.target == "Ott") == there


# ---------------------------------------------------------------- teacher


@dataclass(frozen=True)
class Counting(FakeBackend):
    """Counts what it is asked, and fails from a number of questions on."""

    asked: list[Prompt] = field(default_factory=list)
    dies_after: int | None = None
    down_after: int | None = None

    def choose_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str], prior: Any = None
    ) -> list[LabelChoice]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        if self.down_after is not None and len(self.asked) >= self.down_after:
            return [LabelChoice(error="it is down") for _ in prompts]
        self.asked.extend(prompts)
        return super().choose_labels(prompts, labels, prior)


SHOTS = Context(examples="nearest", num_examples=4)


def test_a_student_learns_its_teachers_answers_after_its_own_prompt(workshop):
    job = job_of(workshop, "teacher", teacher=SHOTS)
    rows = job.rows
    assert len(rows) == len(TRAIN) + len(MORE)
    assert {row.target for row in rows} == set(WORDS)
    for row in rows:
        assert len(row.prompt) == 2  # instruction, input
        assert row.taught_by is not None
        assert len(row.taught_by) == 2 + 2 * SHOTS.num_examples
        assert row.taught_by[-1] == row.prompt[-1]
    own = job.rows[2]
    assert TRAIN[3].input not in [m.content for m in own.taught_by]  # of its group
    groups = [row.group for row in rows[: len(TRAIN)]]
    assert groups == [e.group for e in TRAIN]


def test_a_teacher_is_asked_once(workshop):
    backend = Counting()
    first = job_of(workshop, "teacher", teacher=SHOTS, backend=backend)
    assert len(backend.asked) == len(TRAIN) + len(MORE)
    assert job_of(workshop, "teacher", teacher=SHOTS, backend=backend) == first
    assert len(backend.asked) == len(TRAIN) + len(MORE)
    assert not list(workshop.jobs.iterdir())
    job_of(workshop, "teacher", teacher=replace(SHOTS, num_examples=2), backend=backend)
    assert len(backend.asked) == 2 * (len(TRAIN) + len(MORE))


def test_a_teacher_that_dies_halfway_repeats_no_whole_batch(workshop):
    whole = job_of(workshop, "teacher", teacher=SHOTS)
    fresh = replace(workshop, artefacts=Artefacts(workshop.jobs / "other"), seed=0)
    fresh.database.forget_build(next(iter(builds(workshop))))
    with pytest.raises(KeyboardInterrupt):
        job_of(fresh, "teacher", teacher=SHOTS, backend=Counting(dies_after=BATCH))
    [file] = fresh.jobs.glob("*/answers.jsonl")
    with file.open("a", encoding="utf-8") as cut_off:
        cut_off.write('{"text": "bil')
    backend = Counting()
    assert job_of(fresh, "teacher", teacher=SHOTS, backend=backend) == whole
    assert len(backend.asked) == len(TRAIN) + len(MORE) - BATCH


def test_a_teacher_that_fails_halfway_is_an_error_and_is_asked_for_the_rest_later(workshop):
    whole = job_of(workshop, "teacher", teacher=SHOTS)
    workshop.database.forget_build(next(iter(builds(workshop))))
    with pytest.raises(TrainingError, match="failed on 36 of 100 inputs, first with: it is down"):
        job_of(workshop, "teacher", teacher=SHOTS, backend=Counting(down_after=BATCH))
    backend = Counting()
    assert job_of(workshop, "teacher", teacher=SHOTS, backend=backend) == whole
    assert len(backend.asked) == len(TRAIN) + len(MORE) - BATCH


def builds(workshop: Workshop) -> list[str]:
    with workshop.database.engine.connect() as connection:
        return [key for (key,) in connection.exec_driver_sql("SELECT key FROM build")]


def test_spoilt_answers_are_asked_for_again(workshop):
    backend = Counting()
    first = job_of(workshop, "teacher", teacher=SHOTS, backend=backend)
    [file] = workshop.artefacts.root.glob("*/answers.jsonl")
    file.write_text("{}", encoding="utf-8")
    assert job_of(workshop, "teacher", teacher=SHOTS, backend=backend) == first
    assert len(backend.asked) == 2 * (len(TRAIN) + len(MORE))


def test_a_teacher_past_the_deadline_is_given_up_because_of_time(workshop):
    late = replace(workshop, deadline=time.monotonic() - 1)
    with pytest.raises(TrainingError, match="before the teacher was done") as caught:
        job_of(late, "teacher", teacher=SHOTS)
    assert isinstance(caught.value.__cause__, TimeoutError)


@dataclass(frozen=True)
class Babbling(FakeBackend):
    """Writes what is no answer, to most inputs."""

    def generate(self, prompts: Sequence[Prompt], _sampling: Any) -> list[Generation]:
        return [Generation("{}" if "n7" in p[-1].content.split() else "?") for p in prompts]


def test_invalid_answers_are_not_learned_and_none_valid_is_an_error(workshop):
    schema = {"type": "object"}
    rows = [example(f"e{n}", row["text"], {}) for n, row in enumerate(rows_of("json", 10))]
    given = recipe("r", context=BARE, weights=Weights("lora", learn=("teacher",)))
    for kept, expected in ((rows, ["{}"]), (rows[:5], None)):
        task = make_task(kept, Output("json", schema=schema), hash=str(len(kept)) * 64)
        system = prompting(given, task, Babbling(), workshop)
        if expected is None:
            with pytest.raises(TrainingError, match="no answer to learn from to any of 5 inputs"):
                training_job(system, task, workshop)
        else:
            job, _ = training_job(system, task, workshop)
            assert [row.target for row in job.rows] == expected


# ---------------------------------------------------------------- the presets, built


@pytest.mark.parametrize("name", ["distil", "tapt+lora", "cpt+lora", "lora+rag", "lora+dpo"])
def test_every_trained_recipe_becomes_a_system_that_answers(workshop, name):
    task = replace(
        TASK,
        knowledge=Knowledge((Path("d"),)),
        preferences=(Preference("late parcel", "shipping", "billing", "p"),),
    )
    texts = {"a": "parcel late courier", "b": "invoice charge"}
    lookup = Lookup(documents=WordIndex.of(texts), texts=tuple(texts.items()))
    given = replace(presets(task)[name], model="fake")
    built = build(given, task, replace(workshop, lookup=lookup))
    answer = built.system.answer("invoice charge card")
    assert (answer.value in WORDS, answer.error) == (True, None)
    assert built.curve["stage"] == given.weights.learn[-1]
    assert built.setup_seconds > 0

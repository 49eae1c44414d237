"""Documents in other words: asked for piece by piece, kept, and learned from beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_tasks import example, make_task, recipe
from steelyard.core import Context, Knowledge, ModelSpec, Output, Usage, Weights
from steelyard.errors import TrainingError
from steelyard.measure.grading import Grader
from steelyard.models import Generation, Prompt
from steelyard.models.fake import FakeBackend
from steelyard.recipes import lessons
from steelyard.recipes.finding import Lookup
from steelyard.recipes.lessons import training_job
from steelyard.recipes.paraphrasing import Copies, paraphrase, pieces
from steelyard.recipes.presets import presets, select
from steelyard.recipes.workshop import Workshop, prompting
from steelyard.store import Artefacts, Database

BIG = ModelSpec("big", "big-1", url="http://localhost:1/v1")
TASK = make_task(
    [example(f"e{n}", f"who built mill {n}", "Ott") for n in range(20)], Output("text")
)
TEXTS = ("Ott built the mill.", "Eva built the barn.")


@dataclass
class Writer:
    """Turns the words of a text round, and says which text and copy it was asked for."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    fails_at: int | None = None
    cuts: tuple[str, ...] = ()

    def generate(self, prompts: Sequence[Prompt], sampling: Any) -> list[Generation]:
        return [self._say(prompt[-1].content.partition("\n\n")[2], sampling) for prompt in prompts]

    def _say(self, text: str, sampling: Any) -> Generation:
        if len(self.asked) == self.fails_at:
            return Generation(error="status 503: busy")
        self.asked.append((text, sampling.seed))
        turned = " ".join(reversed(text.split())) + f" #{sampling.seed}"
        return Generation(turned, text not in self.cuts, Usage(10, 2, 5))


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    database = Database(tmp_path / "steelyard.db")
    grade = Grader.of(TASK).grade
    artefacts = Artefacts(tmp_path / "artefacts")
    lookup = Lookup(texts=tuple(zip("ab", TEXTS, strict=True)))
    yield Workshop(database, artefacts, tmp_path / "jobs", seed=7, grade=grade, lookup=lookup)
    database.close()


def copies(writer: Writer, workshop: Workshop, count: int = 2, texts: Any = TEXTS) -> Copies:
    return paraphrase(texts, count, spec=BIG, writer=writer, workshop=workshop)


# ---------------------------------------------------------------- pieces


@given(
    st.lists(st.text("ab ", max_size=30), max_size=8),
    st.sampled_from(["\n\n", "\n", " "]),
    st.integers(1, 40),
)
def test_pieces_are_short_and_lose_nothing_but_white_space(
    parts: list[str], border: str, longest: int
) -> None:
    text = border.join(parts)
    found = list(pieces(text, longest))
    assert all(0 < len(piece) <= longest for piece in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_pieces_end_where_a_paragraph_does_if_they_can() -> None:
    assert list(pieces("aaa bbb\n\nccc\nddd", 12)) == ["aaa bbb", "ccc\nddd"]
    assert list(pieces("aaa bbb ccc", 8)) == ["aaa bbb", "ccc"]
    assert list(pieces("aaaaaa", 4)) == ["aaaa", "aa"]
    assert list(pieces(" \n ")) == []


# ---------------------------------------------------------------- copies


def test_each_copy_asks_with_a_seed_of_its_own_and_costs_are_added_up(workshop: Workshop) -> None:
    writer = Writer()
    made = copies(writer, workshop)
    assert writer.asked == [(text, seed) for seed in (7, 8) for text in TEXTS]
    assert made.texts[0] == "mill. the built Ott #7"
    assert len(set(made.texts)) == 4
    assert made.usage == Usage(40, 8, 20)
    assert made.seconds > 0


def test_what_was_written_is_not_asked_for_again_after_a_failure(workshop: Workshop) -> None:
    writer = Writer(fails_at=3)
    with pytest.raises(TrainingError, match="in other words: status 503: busy"):
        copies(writer, workshop)
    writer.fails_at = None
    made = copies(writer, workshop)
    assert len(writer.asked) == len(set(writer.asked)) == 4
    assert copies(writer, workshop) == made
    assert len(writer.asked) == 4
    assert copies(writer, workshop, count=3).texts[:4] == made.texts
    assert len(writer.asked) == 6


def test_another_seed_or_model_is_asked_anew(workshop: Workshop) -> None:
    writer = Writer()
    copies(writer, workshop, count=1)
    copies(writer, replace(workshop, seed=9), count=1)
    spec = replace(BIG, source="other")
    paraphrase(TEXTS, 1, spec=spec, writer=writer, workshop=workshop)
    assert len(writer.asked) == 6


def test_a_piece_whose_reply_was_cut_off_is_left_out(workshop: Workshop) -> None:
    first, second = "one " * 400, "two " * 400
    writer = Writer(cuts=(first.strip(), TEXTS[1]))
    made = copies(writer, workshop, 1, [f"{first}\n\n{second}", TEXTS[1]])
    assert len(writer.asked) == 3
    [text] = made.texts
    assert text.startswith("two two")
    assert "one" not in text


def test_a_deadline_ends_the_asking_and_keeps_what_there_is(workshop: Workshop) -> None:
    writer = Writer()
    copies(writer, workshop, count=1)
    late = replace(workshop, deadline=time.monotonic() - 1)
    assert len(copies(writer, late, count=1).texts) == 2
    with pytest.raises(TrainingError, match="time limit") as raised:
        copies(writer, late, count=2)
    assert isinstance(raised.value.__cause__, TimeoutError)


# ---------------------------------------------------------------- recipes


def test_a_task_that_names_a_writer_has_them_in_cpt_and_weighs_it_unasked() -> None:
    plain = replace(TASK, knowledge=Knowledge((Path("d"),)))
    task = replace(plain, knowledge=Knowledge((Path("d"),), paraphrase=BIG, copies=5))
    weights = presets(task)["cpt+lora"].weights
    assert (weights.paraphrases, weights.paraphrase_model) == (5, "big")
    assert presets(plain)["cpt+lora"].weights.paraphrases == 0
    assert [any(r.name == "cpt+lora" for r in select(t)) for t in (plain, task)] == [False, True]


def test_documents_are_learned_and_then_their_copies(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(TASK, knowledge=Knowledge((Path("d"),), paraphrase=BIG))
    given = recipe(
        "r",
        context=Context(describe_output=False),
        weights=Weights("lora", learn=("documents", "examples"), paraphrases=2),
    )
    writer = Writer()
    monkeypatch.setattr(lessons, "opened", lambda *_: writer)
    job, asked = training_job(prompting(given, task, FakeBackend(), workshop), task, workshop)
    rows = job.stage_rows("documents")
    assert [row.target for row in rows[:2]] == list(TEXTS)
    assert [row.target for row in rows[2:]] == list(copies(writer, workshop).texts)
    assert len(job.stage_rows("examples")) == len(task.train)
    assert asked.usage == Usage(40, 8, 20)
    assert asked.seconds > 0


@pytest.mark.parametrize(
    ("writer", "model", "said"),
    [
        (None, None, "by a model, and the task names no model to write them"),
        (BIG, "other", "by other, and the task names big"),
    ],
)
def test_a_recipe_whose_writer_the_task_does_not_name_says_so(
    workshop: Workshop, writer: ModelSpec | None, model: str | None, said: str
) -> None:
    task = replace(TASK, knowledge=Knowledge((Path("d"),), paraphrase=writer))
    weights = Weights("lora", learn=("documents",), paraphrases=2, paraphrase_model=model)
    system = prompting(recipe("r", weights=weights), task, FakeBackend(), workshop)
    with pytest.raises(TrainingError, match=said):
        training_job(system, task, workshop)

"""What becomes of a corpus: read, split by whole documents, compressed, learned from."""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import InputError, TrainingError
from steelyard.lifecycle import open_home, pretraining
from steelyard.lifecycle.pretraining import Corpus, read_corpus, split, xz_bits_per_byte
from steelyard.training import Progress, Trained
from steelyard.training.scratch import ScratchJob
from steelyard.training.scratch.choices import Shape, course_of
from steelyard.training.scratch.job import COURSE_FILE

LINE = "The mill beside the river was built in 1888 by Ott.\n"


def write_corpus(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"Page {number}.\n{LINE * 10}", encoding="utf-8")
    return folder


class FakeChild:
    """Stands in for the training child: leaves a model and a curve, or fails as it is told."""

    def __init__(self) -> None:
        self.jobs: list[ScratchJob] = []
        self.error: Exception | None = None

    def __call__(self, job: ScratchJob, folder: Path, *, log: Callable[..., None]) -> Trained:
        self.jobs.append(job)
        job.write(folder)
        course = course_of(
            Shape(2, 512),
            given=False,
            seconds=60.0,
            tokens_per_second=500.0,
            corpus_tokens=9000,
            num_blocks=40,
        )
        (folder / COURSE_FILE).write_text(json.dumps(course.to_json()), encoding="utf-8")
        log(Progress(1, 2, 0.5, 5.0, None))
        if self.error is not None:
            raise self.error
        log(Progress(2, 2, 1.0, 4.0, 3.0))
        result = folder / "result"
        result.mkdir()
        (result / "model.safetensors").write_bytes(b"weights")
        points = [
            {"step": 1, "epoch": 0.5, "train_loss": 5.0, "held_out_loss": math.log(2)},
            {"step": 2, "epoch": 1.0, "train_loss": 4.0, "held_out_loss": math.log(2) / 2},
        ]
        curve = {"points": points, "best_step": 2, "trouble": None, "held_out_tokens": 30}
        curve |= {"held_out_bytes": 120, "held_out_loss": 2 * math.log(2)}
        (result / "learning_curve.json").write_text("{}", encoding="utf-8")
        return Trained(result, curve, 61.0)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> FakeChild:
    fake = FakeChild()
    monkeypatch.setattr(pretraining, "train_in_child", fake)
    return fake


def pretrain(tmp_path: Path, **more: Any) -> pretraining.Pretrained:
    with open_home(tmp_path / "home") as home:
        return pretraining.pretrain(
            [tmp_path / "corpus"], home, out=tmp_path / "out", minutes=1.0, **more
        )


# ---------------------------------------------------------------- the verb


def test_bits_per_byte_are_nats_of_tokens_in_bits_over_bytes(
    tmp_path: Path, child: FakeChild
) -> None:
    write_corpus(tmp_path / "corpus")
    made = pretrain(tmp_path)
    # 30 tokens of 2 bits each over 120 bytes; the looks saw 1 bit and half a bit a token.
    assert made.bits_per_byte == pytest.approx(0.5)
    assert [point.bits_per_byte for point in made.points] == pytest.approx([0.25, 0.125])
    assert sorted(file.name for file in made.folder.iterdir()) == ["model.safetensors"]
    assert not list((tmp_path / "home" / "jobs").iterdir())
    assert len(child.jobs[0].documents) == 11
    assert len(child.jobs[0].held_out) == 1


def test_those_who_watch_hear_of_the_numbers_once_and_of_every_step(
    tmp_path: Path, child: FakeChild
) -> None:
    assert not child.jobs
    write_corpus(tmp_path / "corpus")
    heard: list[object] = []
    watcher = pretraining.Watcher(
        chosen=lambda course: heard.append(course.shape.layers),
        stepped=lambda progress: heard.append((progress.step, progress.held_out_loss)),
    )
    pretrain(tmp_path, watcher=watcher)
    assert heard == [2, (1, None), (2, 3.0)]


def test_a_run_that_was_cut_off_is_the_same_job_the_next_time(
    tmp_path: Path, child: FakeChild
) -> None:
    write_corpus(tmp_path / "corpus")
    child.error = TrainingError("killed")
    with pytest.raises(TrainingError):
        pretrain(tmp_path)
    [left] = (tmp_path / "home" / "jobs").iterdir()
    assert not (tmp_path / "out").exists()
    child.error = None
    pretrain(tmp_path)
    assert left.name == child.jobs[0].key == child.jobs[1].key


def test_what_is_there_already_is_not_written_over(tmp_path: Path, child: FakeChild) -> None:
    write_corpus(tmp_path / "corpus")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match="there is something already; name a folder"):
        pretrain(tmp_path)
    assert child.jobs == []


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no document with text could be read"),
        ({"a.txt": " \n"}, "no document with text could be read"),
        ({"a.txt": LINE, "b.txt": "Two."}, "less than a block of 512 tokens"),
    ],
)
def test_a_corpus_with_too_little_in_it_is_refused(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_corpus([tmp_path], 0)


def test_a_path_that_is_not_there_is_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: there is no such file\. Correct the path"):
        read_corpus([tmp_path / "nowhere"], 0)


def test_equal_documents_are_one_so_that_none_is_held_out_and_learned_from(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "corpus", 3)
    (folder / "copy.txt").write_bytes((folder / "0.txt").read_bytes())
    corpus = read_corpus([folder], 0)
    assert len(corpus.documents) + len(corpus.held_out) == 3
    assert not set(corpus.documents) & set(corpus.held_out)


def test_of_a_single_document_the_end_is_held_out_and_that_is_said(tmp_path: Path) -> None:
    text = LINE * 400
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    corpus = read_corpus([tmp_path / "book.txt"], 0)
    [kept], [held] = corpus.documents, corpus.held_out
    assert kept + held == text
    assert held.startswith("The mill")
    assert 512 <= len(held) < 0.1 * len(text)
    assert corpus.notes == ("there is one document alone: the end of book.txt is held out",)


def test_a_file_that_cannot_be_read_is_told_beside_the_others(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "corpus", 3)
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    [note] = read_corpus([folder], 0).notes
    assert "photo.jpg: " in note


@given(
    sizes=st.lists(st.integers(1, 2000), min_size=2, max_size=40),
    seed=st.integers(0, 5),
)
def test_some_whole_documents_are_held_out_and_always_the_same(sizes: list[int], seed: int) -> None:
    texts = {f"{number:03d}" + "x" * size: f"{number}" for number, size in enumerate(sizes)}
    kept, held = split(texts, seed)
    assert (kept, held) == split(texts, seed)
    assert sorted([*kept, *held]) == sorted(texts)
    assert kept
    assert held
    total, out = sum(map(len, texts)), sum(map(len, held))
    assert out <= 0.1 * total or len(held) == 1


# ---------------------------------------------------------------- xz


def test_xz_is_that_of_the_command_with_nine(tmp_path: Path) -> None:
    held = tuple(f"{LINE}{number}" for number in range(40))
    found = xz_bits_per_byte(Corpus((LINE * 100,), held, ()))
    whole = "".join(held).encode()
    alone = 8 * len(lzma.compress(whole, preset=9)) / len(whole)
    assert found.alone == pytest.approx(alone)
    learned = (LINE * 100).encode()
    added = len(lzma.compress(learned + whole, preset=9)) - len(lzma.compress(learned, preset=9))
    assert found.after_training == pytest.approx(8 * added / len(whole))
    assert found.after_training is not None
    assert found.after_training < found.alone


def test_text_longer_than_xz_looks_back_is_not_compared_after_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretraining, "XZ_WINDOW", 1000)
    found = xz_bits_per_byte(Corpus((LINE * 100,), (LINE,), ()))
    assert found.after_training is None
    assert found.alone > 0

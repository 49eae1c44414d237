"""A tokenizer and a model from nothing: learned, killed, gone on with, opened like any other."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from steelyard.core import ModelSpec
from steelyard.errors import TrainingError
from steelyard.models import Message, Sampling, loading, opening
from steelyard.models.render import Renderer
from steelyard.models.torch_backend import TorchBackend
from steelyard.training import Progress
from steelyard.training.scratch import ScratchJob, child
from steelyard.training.scratch.choices import BLOCK_TOKENS, Course, Shape, course_of
from steelyard.training.scratch.job import COURSE_FILE
from steelyard.training.scratch.making import learn_tokenizer, whole_folder

SENTENCE = "the mill was built beside a river in spring by old Ott and sold to nobody"
WORDS = SENTENCE.split()
TOKENIZER = learn_tokenizer([SENTENCE] * 3, 300)


def texts(count: int, seed: int) -> tuple[str, ...]:
    """Sentences whose words follow each other in one order, so that there is much to learn."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        start = chance.randrange(len(WORDS))
        made.append(" ".join((WORDS[start:] + WORDS[:start]) * 12))
    return tuple(made)


class StoppedError(Exception):
    """What stands in for a kill."""


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loading, child):
        monkeypatch.setattr(module, "number_type", lambda: torch.float32)


def run(folder: Path, log: Callable[[Progress], None] = lambda _: None) -> Path:
    result = folder / "result"
    result.mkdir(exist_ok=True)
    curve = child.train(folder, result, log)
    (folder / "curve.json").write_text(json.dumps(curve), encoding="utf-8")
    return result


def trained(folder: Path, log: Callable[[Progress], None] = lambda _: None) -> Path:
    """The result of a job whose course is there, as if the machine had been measured before."""
    ScratchJob(texts(20, 0), texts(3, 1), minutes=1.0, layers=1, seed=3).write(folder)
    vocabulary = len(Renderer(learn_tokenizer(texts(20, 0), 512)).tokenizer)
    course = course_of(
        Shape(1, vocabulary),
        given=True,
        seconds=15.0,
        tokens_per_second=1000.0,
        corpus_tokens=3000,
        num_blocks=20,
    )
    (folder / COURSE_FILE).write_text(json.dumps(course.to_json()), encoding="utf-8")
    return run(folder, log)


# ---------------------------------------------------------------- tokens


@given(st.text(max_size=60))
def test_any_text_has_tokens_and_they_are_that_text_again(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert all(0 <= number < 300 for number in ids)
    if "<|endoftext|>" not in text:
        assert TOKENIZER.decode(ids) == text


def test_the_same_texts_make_the_same_tokenizer_and_common_words_a_token() -> None:
    one, same = (learn_tokenizer(texts(5, 2), 400).get_vocab() for _ in range(2))
    assert one == same
    assert "Ġriver" in one
    assert len(one) <= 400


@given(st.lists(st.text("ab c", max_size=3000), min_size=1, max_size=3))
def test_every_token_of_a_text_is_foretold_once_from_half_a_block(found: list[str]) -> None:
    renderer = Renderer(TOKENIZER)
    for text in found:
        ids = renderer.document_ids(text)
        rows = child.windows([text], renderer)
        assert [token for row in rows for token in row.target] == ids[1:]
        assert all(len(row) <= BLOCK_TOKENS for row in rows)
        assert len(rows[0].prompt) == 1
        assert all(len(row.prompt) == BLOCK_TOKENS // 2 for row in rows[1:])


def test_a_folder_that_a_kill_left_half_is_written_anew(tmp_path: Path) -> None:
    def fail(to: Path) -> None:
        (to / "half").touch()
        raise StoppedError

    with pytest.raises(StoppedError):
        whole_folder(tmp_path / "a", fail)
    assert not (tmp_path / "a").exists()
    assert whole_folder(tmp_path / "a", lambda to: (to / "all").touch()) == tmp_path / "a"
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["all"]
    whole_folder(tmp_path / "a", fail)  # it is there: nothing is called


# ---------------------------------------------------------------- learning


def test_what_is_learned_foretells_texts_never_seen_and_opens_like_any_model(
    tmp_path: Path,
) -> None:
    result = trained(tmp_path)
    curve = json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))
    first, last = curve["points"][0], curve["points"][-1]
    assert last["held_out_loss"] < first["held_out_loss"] / 2
    assert curve["held_out_loss"] < 1.0  # of log(300) = 5.7
    assert curve["held_out_bytes"] == sum(len(text.encode()) for text in texts(3, 1))

    backend = opening.open_backend(ModelSpec("own", str(result)))
    assert isinstance(backend, TorchBackend)
    theirs = AutoModelForCausalLM.from_pretrained(result, dtype=torch.float32)
    ids = backend.renderer.document_ids(texts(1, 5)[0])[:40]
    with torch.no_grad():
        loss = theirs(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    assert float(loss) < 2.0
    [answer] = backend.generate([(Message("user", "the mill"),)], Sampling(5))
    assert answer.error is None


def test_a_killed_run_goes_on_and_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    whole = load_file(trained(tmp_path / "whole") / "model.safetensors")
    left = iter(range(25))

    def kill(_: Progress) -> None:
        if next(left, None) is None:
            raise StoppedError

    with pytest.raises(StoppedError):
        trained(tmp_path / "killed", kill)
    course = (tmp_path / "killed" / COURSE_FILE).read_bytes()
    steps: list[int] = []
    result = run(tmp_path / "killed", lambda progress: steps.append(progress.step))
    again = load_file(result / "model.safetensors")
    assert steps[0] > 1
    assert (tmp_path / "killed" / COURSE_FILE).read_bytes() == course
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_without_a_size_the_largest_that_sees_enough_tokens_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def speed(shape: Shape, *_: object) -> float:
        tried.append(shape.layers)
        return 4e8 / shape.weights

    monkeypatch.setattr(child, "_speed", speed)
    monkeypatch.setattr(child.choices, "SIZES", (1, 2, 3))
    monkeypatch.setattr(child.choices, "TOKENS_PER_WEIGHT", 0.1)
    made = ScratchJob(texts(20, 0), texts(3, 1), minutes=1.0, layers=None, seed=3)
    made.write(tmp_path)
    monkeypatch.setattr(child.loop, "train", _stop)
    with pytest.raises(StoppedError):
        run(tmp_path)
    course = Course.from_json(json.loads((tmp_path / COURSE_FILE).read_text(encoding="utf-8")))
    assert tried == [1, 2]
    assert course.shape.layers == 1
    assert not course.given


def _stop(*_: object, **__: object) -> None:
    raise StoppedError


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("documents", "minutes", "said"),
    [
        (texts(20, 0), 1e-4, "expected at least 20. Give it more minutes"),
        (("a few words", "and more"), 1.0, "fewer than one block of 512; add documents"),
        (("  ", "\n"), 1.0, "none of the 2 texts to be read holds a word"),
    ],
)
def test_too_little_text_or_time_is_said(
    tmp_path: Path, documents: Sequence[str], minutes: float, said: str
) -> None:
    ScratchJob(tuple(documents), texts(1, 1), minutes, 1, seed=0).write(tmp_path)
    with pytest.raises(TrainingError, match=said):
        run(tmp_path)

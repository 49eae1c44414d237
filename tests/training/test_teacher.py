"""A teacher's distribution: the divergence and its gradient, and what is kept of the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from steelyard.core import Weights
from steelyard.models.fused import Product
from steelyard.training import learner, loop, teacher
from steelyard.training import target_loss as pieces
from steelyard.training.batches import Encoded
from steelyard.training.objective import Lesson
from steelyard.training.target_loss import target_loss
from steelyard.training.teacher import Taught, Teacher, soft_loss, taught
from tiny import WORDS, ask, open_in_float32


def some(count: int, *, width: int, vocabulary: int, k: int) -> tuple[Tensor, nn.Linear, Any]:
    """States that learn, a frozen head, and a teacher's likeliest tokens."""
    chance = torch.Generator().manual_seed(count)
    head = nn.Linear(width, vocabulary, bias=False).requires_grad_(requires_grad=False)
    head.weight.normal_(generator=chance)
    states = torch.randn(count, width, generator=chance, requires_grad=True)
    logits = torch.randn(count, vocabulary, generator=chance)
    return states, head, torch.log_softmax(logits, dim=-1).topk(k, dim=-1)


def product(head: nn.Linear) -> Product:
    return Product(head.weight, head.bias, lay_out=False)


def plain(states: Tensor, head: nn.Linear, ids: Tensor, log_probs: Tensor) -> Tensor:
    """The same divergence as autograd sees it, in float64: K tokens and the rest as one more."""
    q = torch.softmax(head(states).double(), dim=-1)
    own, p = q.gather(1, ids), log_probs.double().exp()
    q = torch.cat([own, 1 - own.sum(-1, keepdim=True)], dim=-1)
    p = torch.cat([p, 1 - p.sum(-1, keepdim=True)], dim=-1)
    return (p * (p.log() - q.log())).sum()


@given(st.integers(1, 20), st.integers(1, 21), st.integers(3, 30), st.data())
def test_value_and_gradient_are_those_of_the_divergence(count, at_once, vocabulary, data):
    k = data.draw(st.integers(1, vocabulary - 2))
    states, head, top = some(count, width=3, vocabulary=vocabulary, k=k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "states_at_once", lambda _: at_once)
        ours = soft_loss(states, product(head), top.indices, top.values)
    theirs = plain(states, head, top.indices, top.values)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4, abs=1e-4)
    [mine] = torch.autograd.grad(ours * 0.5, states)
    [other] = torch.autograd.grad(theirs * 0.5, states)
    torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_a_divergence_worked_by_hand() -> None:
    # Student 1/4 each; teacher 1/2 for one token and 1/2 for the three others together:
    # 1/2 log(1/2 / 1/4) + 1/2 log(1/2 / 3/4) = 1/2 log 2 + 1/2 log 2/3 = 0.1438410.
    states, head = torch.zeros(1, 2, requires_grad=True), nn.Linear(2, 4, bias=False)
    head.requires_grad_(requires_grad=False)
    loss = soft_loss(states, product(head), torch.tensor([[2]]), torch.tensor([[0.5]]).log())
    assert loss.item() == pytest.approx(0.1438410)


def test_a_teacher_that_is_sure_is_a_target() -> None:
    states, head, top = some(5, width=3, vocabulary=9, k=1)
    sure = soft_loss(states, product(head), top.indices, torch.zeros(5, 1))
    target = target_loss(states, product(head), top.indices[:, 0])
    assert sure.item() == pytest.approx(target.item(), rel=1e-5)
    [mine] = torch.autograd.grad(sure, states)
    [other] = torch.autograd.grad(target, states)
    torch.testing.assert_close(mine, other)


def test_a_whole_distribution_leaves_no_rest_to_divide_by() -> None:
    states, head, top = some(4, width=3, vocabulary=6, k=6)
    loss = soft_loss(states, product(head), top.indices, top.values)
    q = torch.log_softmax(head(states), dim=-1).gather(1, top.indices)
    assert loss.item() == pytest.approx(
        (top.values.exp() * (top.values - q)).sum().item(), abs=1e-4
    )
    [gradient] = torch.autograd.grad(loss, states)
    assert gradient.isfinite().all()


# ---------------------------------------------------------------- what is kept


def rows_of(backend: Any, count: int) -> list[tuple[Encoded, Encoded]]:
    shown = backend.renderer
    rows = []
    for number in range(count):
        word = WORDS[number % len(WORDS)]
        target = shown.target_ids(f"{word} {word}" if number % 3 else word)
        bare, full = ask(f"{word} {number}"), ask(f"{word} {number}", "fee card top up " * 3)
        rows.append(
            (Encoded(shown.prompt_ids(bare), target), Encoded(shown.prompt_ids(full), target))
        )
    return rows


def same(a: list[Taught], b: list[Taught]) -> bool:
    return len(a) == len(b) and all(
        (x.prompt, x.target) == (y.prompt, y.target)
        and torch.equal(x.ids, y.ids)
        and torch.equal(x.log_probs, y.log_probs)
        for x, y in zip(a, b, strict=True)
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four rows a file; how many rows each pass of a teacher was asked for."""
    asked: list[int] = []
    distributions = teacher._distributions

    def counted(decoder: Any, rows: Any) -> Any:
        asked.append(len(rows))
        return distributions(decoder, rows)

    monkeypatch.setattr(teacher, "ROWS_A_FILE", 4)
    monkeypatch.setattr(teacher, "_distributions", counted)
    return asked


def test_each_row_keeps_what_the_teacher_makes_of_its_own_target(tiny: Any, tmp_path: Path) -> None:
    rows = rows_of(tiny, 6)
    for (student, full), row in zip(rows, taught(tiny.loaded.decoder, rows, tmp_path), strict=True):
        assert (row.prompt, row.target) == (student.prompt, student.target)
        with torch.inference_mode():
            logits = tiny.loaded.decoder.model(torch.tensor([full.prompt + full.target])).logits
        log_probs = torch.log_softmax(logits[0, len(full.prompt) - 1 : -1].float(), dim=-1)
        torch.testing.assert_close(log_probs.gather(1, row.ids), row.log_probs, rtol=0, atol=1e-3)
        assert row.ids.shape == (len(row.target), teacher.LIKELIEST)


def test_a_teacher_that_dies_halfway_goes_on_where_it_was(
    tiny: Any, tmp_path: Path, few: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, decoder = rows_of(tiny, 10), tiny.loaded.decoder
    whole = taught(decoder, rows, tmp_path / "whole")
    assert few == [4, 4, 2]

    save, saved = teacher.save_file, []

    def dying(tensors: Any, file: Path) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(file)
        save(tensors, file)

    monkeypatch.setattr(teacher, "save_file", dying)
    with pytest.raises(KeyboardInterrupt):
        taught(decoder, rows, tmp_path / "killed")
    monkeypatch.setattr(teacher, "save_file", save)
    few.clear()
    assert same(taught(decoder, rows, tmp_path / "killed"), whole)
    assert few == [4, 2]
    few.clear()
    assert same(taught(decoder, rows, tmp_path / "killed"), whole)
    assert few == []


def test_a_file_that_was_cut_off_is_made_again(tiny: Any, tmp_path: Path, few: list[int]) -> None:
    rows, decoder = rows_of(tiny, 10), tiny.loaded.decoder
    whole = taught(decoder, rows, tmp_path)
    second = sorted(tmp_path.glob("*.safetensors"))[1]
    second.write_bytes(second.read_bytes()[:100])
    few.clear()
    assert same(taught(decoder, rows, tmp_path), whole)
    assert few == [4]


def test_no_rows_have_no_teacher(tiny: Any, tmp_path: Path) -> None:
    assert taught(tiny.loaded.decoder, [], tmp_path) == []


def test_a_student_comes_to_answer_as_its_teacher_does(tiny_folder: Path, tmp_path: Path) -> None:
    backend = open_in_float32(tiny_folder)
    decoder = backend.loaded.decoder
    rows = taught(decoder, rows_of(backend, 24), tmp_path / "teacher")
    weights = Weights("lora", rank=8, alpha=16, epochs=25, batch_size=8, learning_rate=1e-2)
    learning = learner.begin(decoder, weights, seed=0)
    before = Teacher().held_out(decoder, rows[16:])["held_out_loss"]
    loop.train(
        learning,
        Lesson(Teacher(), rows[:16], rows[16:]),
        weights=weights,
        seed=0,
        folder=tmp_path / "checkpoints",
        log=lambda _: None,
    )
    after = Teacher().held_out(decoder, rows[16:])["held_out_loss"]
    assert before > 0.2
    assert after < before / 2

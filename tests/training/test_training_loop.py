from __future__ import annotations

import contextlib
import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from steelyard.core import Weights
from steelyard.errors import TrainingError
from steelyard.models import Sampling, lora
from steelyard.models.decoder import MICRO_BATCH_TOKENS, Decoder
from steelyard.training import Progress, checkpoint, learner, loop
from steelyard.training.batches import Encoded
from steelyard.training.objective import Examples, Lesson, mean_loss
from steelyard.training.step import backward as take_gradient
from tiny import WORDS, ask, open_in_float32

PAIRS = list(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True))
CONTRARY = [(word, word.swapcase()) for word in WORDS]  # their loss soon rises as PAIRS are learned
WEIGHTS = Weights("lora", rank=4, alpha=8, learning_rate=5e-2, epochs=4, batch_size=3, patience=4)
NUM_STEPS = 16  # ten rows, three at a time, four times


class StoppedError(Exception):
    """What stands in for a kill."""


def encode(backend: Any, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
    shown = backend.renderer
    return [Encoded(shown.prompt_ids(ask(a)), shown.target_ids(b)) for a, b in pairs]


@dataclasses.dataclass
class Run:
    """One call of `train` on a model of its own."""

    tiny_folder: Path
    folder: Path
    weights: Weights = WEIGHTS
    held_out: Sequence[tuple[str, str]] = ()
    until: float = 1.0

    def __call__(self, log: Callable[[Progress], None] = lambda _: None) -> tuple[Any, loop.State]:
        """The backend with what it learned, and the state."""
        backend = open_in_float32(self.tiny_folder)
        state = loop.train(
            learner.begin(backend.loaded.decoder, self.weights, seed=5),
            Lesson(
                Examples(),
                encode(backend, PAIRS),
                encode(backend, self.held_out),
                until=self.until,
            ),
            weights=self.weights,
            seed=5,
            folder=self.folder,
            log=log,
        )
        return backend, state


def stopping_after(calls: int) -> Callable[[Progress], None]:
    left = iter(range(calls))

    def log(_: Progress) -> None:
        if next(left, None) is None:
            raise StoppedError

    return log


def learned(backend: Any) -> dict[str, torch.Tensor]:
    return lora.tensors(backend.loaded.decoder.model, learner.ADAPTER)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, loop.State]:
    """A run that nothing interrupted, with rows held out."""
    return Run(tiny_folder, tmp_path_factory.mktemp("whole"), held_out=CONTRARY)()


def test_training_memorises_a_mapping(tiny_folder: Path, tmp_path: Path) -> None:
    weights = dataclasses.replace(WEIGHTS, rank=8, alpha=16, epochs=40, learning_rate=2e-2)
    backend, state = Run(tiny_folder, tmp_path, weights)()
    losses = [point["train_loss"] for point in state.points]
    assert losses[0] > 2
    assert losses[-1] < 0.2
    assert state.stopped == "after 40 epochs"
    backend.adapter = learner.ADAPTER
    answers = backend.generate([ask(word) for word, _ in PAIRS], Sampling(12))
    assert [answer.text for answer in answers] == [target for _, target in PAIRS]


def test_progress_counts_steps_and_epochs_and_ends_each_half_epoch_with_an_evaluation(
    tiny_folder: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    _, state = Run(tiny_folder, tmp_path, held_out=CONTRARY)(seen.append)
    steps = [p for p in seen if p.held_out_loss is None]
    assert [p.step for p in steps] == list(range(1, NUM_STEPS + 1))
    assert {p.num_steps for p in seen} == {NUM_STEPS}
    assert [p.epoch for p in steps] == [step / 4 for step in range(1, NUM_STEPS + 1)]
    evaluated = [p for p in seen if p.held_out_loss is not None]
    assert [p.step for p in evaluated] == list(range(2, NUM_STEPS + 1, 2))
    assert [p.held_out_loss for p in evaluated] == [p["held_out_loss"] for p in state.points]


def test_the_curve_shows_the_mean_loss_per_token_since_the_last_point(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed: list[tuple[float, int]] = []
    backward = take_gradient

    def watched(decoder: Any, objective: Any, rows: Any, ranks: Any) -> float:
        count = sum(map(objective.count, rows))
        summed.append((backward(decoder, objective, rows, ranks), count))
        return summed[-1][0]

    monkeypatch.setattr(loop, "backward", watched)
    _, state = Run(tiny_folder, tmp_path)()
    for point, two in zip(state.points, zip(summed[::2], summed[1::2], strict=True), strict=True):
        expected = sum(loss for loss, _ in two) / sum(tokens for _, tokens in two)
        assert point["train_loss"] == pytest.approx(expected)
        assert point["held_out_loss"] is None


def test_without_held_out_rows_the_last_weights_are_kept(tiny_folder: Path, tmp_path: Path) -> None:
    backend, state = Run(tiny_folder, tmp_path)()
    assert (state.best_step, state.stopped) == (NUM_STEPS, "after 4 epochs")
    found = checkpoint.latest(tmp_path)
    assert found is not None
    now = {k.removeprefix("now."): v for k, v in found[0].items() if k.startswith("now.")}
    assert equal(learned(backend), now)


def test_on_an_over_fitting_set_training_stops_early_and_the_best_weights_are_kept(
    tiny_folder: Path, tmp_path: Path
) -> None:
    weights = dataclasses.replace(WEIGHTS, epochs=30, patience=2)
    backend, state = Run(tiny_folder, tmp_path, weights, held_out=CONTRARY)()
    losses = {point["step"]: point["held_out_loss"] for point in state.points}
    assert state.stopped == "held-out loss had not fallen for 2 epochs"
    assert state.best_step is not None
    assert state.step == state.best_step + 2 * 4  # two epochs of four steps
    assert state.step < 30 * 4
    assert min(losses, key=losses.__getitem__) == state.best_step
    assert losses[state.step] > losses[state.best_step]
    kept = mean_loss(Examples(), backend.loaded.decoder, encode(backend, CONTRARY))
    assert kept == losses[state.best_step] == state.best_loss


@pytest.mark.parametrize("stops", [[1], [3], [4], [14], [23], [6, 1, 5, 7], [0, 0, 2]])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    tiny_folder: Path, tmp_path: Path, whole: tuple[Any, loop.State], stops: list[int]
) -> None:
    assert 2 < whole[1].best_step < NUM_STEPS  # so that best and newest weights differ
    run = Run(tiny_folder, tmp_path, held_out=CONTRARY)
    for calls in stops:
        with pytest.raises(StoppedError):
            run(stopping_after(calls))
    backend, state = run()
    assert state == whole[1]
    assert equal(learned(backend), learned(whole[0]))


def test_a_pause_comes_at_the_next_look_and_the_end_is_that_of_a_run_in_one_go(
    tiny_folder: Path, tmp_path: Path, whole: tuple[Any, loop.State]
) -> None:
    run = Run(tiny_folder, tmp_path, held_out=CONTRARY)
    for until, step in ((0.25, 4), (0.3, 6), (0.5, 8)):
        with contextlib.suppress(StoppedError):
            dataclasses.replace(run, until=until)(stopping_after(1))
        backend, state = dataclasses.replace(run, until=until)()
        assert (state.step, state.num_steps, state.stopped) == (step, NUM_STEPS, "")
        assert state.points == whole[1].points[: step // 2]
    again, same = dataclasses.replace(run, until=0.5)()
    assert equal(learned(again), learned(backend))
    assert same == state
    backend, state = run()
    assert state == whole[1]
    assert equal(learned(backend), learned(whole[0]))


def test_a_run_that_is_past_a_pause_goes_on_to_its_end(
    tiny_folder: Path, tmp_path: Path, whole: tuple[Any, loop.State]
) -> None:
    run = Run(tiny_folder, tmp_path, held_out=CONTRARY)
    dataclasses.replace(run, until=0.5)()
    backend, state = dataclasses.replace(run, until=0.25)()
    assert state == whole[1]
    assert equal(learned(backend), learned(whole[0]))


def test_a_run_that_was_done_is_not_done_again(
    tiny_folder: Path, tmp_path: Path, whole: tuple[Any, loop.State]
) -> None:
    run = Run(tiny_folder, tmp_path, held_out=CONTRARY)
    run()
    backend, state = run(stopping_after(0))
    assert state == whole[1]
    assert equal(learned(backend), learned(whole[0]))


def test_a_damaged_newest_checkpoint_costs_some_steps_and_nothing_else(
    tiny_folder: Path, tmp_path: Path, whole: tuple[Any, loop.State]
) -> None:
    run = Run(tiny_folder, tmp_path, held_out=CONTRARY)
    with pytest.raises(StoppedError):
        run(stopping_after(14))
    older, newest = sorted(tmp_path.glob("step-*"))
    data = (newest / "tensors.safetensors").read_bytes()
    (newest / "tensors.safetensors").write_bytes(data[:-1])
    seen: list[Progress] = []
    backend, state = run(seen.append)
    assert seen[0].step == int(older.name.removeprefix("step-")) + 1
    assert state == whole[1]
    assert equal(learned(backend), learned(whole[0]))


def test_another_seed_learns_something_else(tiny_folder: Path, tmp_path: Path) -> None:
    weights = dataclasses.replace(WEIGHTS, epochs=1)
    found = []
    for seed in (5, 6):
        backend = open_in_float32(tiny_folder)
        loop.train(
            learner.begin(backend.loaded.decoder, weights, seed=seed),
            Lesson(Examples(), encode(backend, PAIRS)),
            weights=weights,
            seed=seed,
            folder=tmp_path / str(seed),
            log=lambda _: None,
        )
        found.append(learned(backend))
    assert not equal(*found)


def test_the_base_is_left_as_it_was(tiny_folder: Path, whole: tuple[Any, loop.State]) -> None:
    original = open_in_float32(tiny_folder).loaded.decoder.model.state_dict()
    trained = whole[0].loaded.decoder.model.state_dict()
    assert equal({k: v for k, v in trained.items() if ".adapters." not in k}, dict(original))


def test_a_loss_that_is_no_number_names_the_step_and_the_rows(
    tiny_folder: Path, tmp_path: Path
) -> None:
    backend = open_in_float32(tiny_folder)
    decoder, rows = backend.loaded.decoder, encode(backend, PAIRS)
    poisoned = Encoded([*rows[4].prompt, 200], rows[4].target)
    with torch.no_grad():
        decoder.embed.weight[200] = math.nan
    order = [loop.batches.rows_of_step(len(rows), 3, step, 5) for step in range(4)]
    step = next(i for i, chosen in enumerate(order) if 4 in chosen)
    message = rf"the loss was nan at step {step + 1} \(training rows \[{str(order[step])[1:-1]}\]\)"
    with pytest.raises(TrainingError, match=message):
        loop.train(
            learner.begin(decoder, WEIGHTS, seed=5),
            Lesson(Examples(), [*rows[:4], poisoned, *rows[5:]]),
            weights=WEIGHTS,
            seed=5,
            folder=tmp_path,
            log=lambda _: None,
        )


# ---------------------------------------------------------------- other ways to learn

FULL = Weights("full", learning_rate=1e-2, epochs=4, batch_size=3, patience=4)
WAYS = {
    "dropout": dataclasses.replace(WEIGHTS, dropout=0.3),
    "dora": dataclasses.replace(WEIGHTS, dora=True, rank_stabilised=True, dropout=0.1),
    "full": FULL,
    "weight decay": dataclasses.replace(FULL, weight_decay=0.1),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_learns_a_resumed_run_ends_as_an_uninterrupted_one(
    tiny_folder: Path, tmp_path: Path, way: str
) -> None:
    first = Run(tiny_folder, tmp_path / "whole", WAYS[way], held_out=CONTRARY)
    backend, state = first()
    broken = dataclasses.replace(first, folder=tmp_path / "broken")
    for calls in (7, 4):
        with pytest.raises(StoppedError):
            broken(stopping_after(calls))
    again, resumed = broken()
    assert resumed == state
    assert equal(all_weights(again), all_weights(backend))


def all_weights(backend: Any) -> dict[str, torch.Tensor]:
    return dict(backend.loaded.decoder.model.state_dict())


def test_full_weights_memorise_a_mapping(tiny_folder: Path, tmp_path: Path) -> None:
    weights = dataclasses.replace(FULL, epochs=30)
    backend, state = Run(tiny_folder, tmp_path, weights)()
    assert state.points[-1]["train_loss"] < 0.2
    answers = backend.generate([ask(word) for word, _ in PAIRS], Sampling(12))
    assert [answer.text for answer in answers] == [target for _, target in PAIRS]


def test_dropout_changes_what_is_learned_and_nothing_that_is_measured(
    tiny_folder: Path, tmp_path: Path
) -> None:
    found = [
        Run(tiny_folder, tmp_path / f"{share}", dataclasses.replace(WEIGHTS, dropout=share))()
        for share in (0.0, 0.5)
    ]
    assert not equal(*(learned(backend) for backend, _ in found))
    backend, _ = found[1]
    rows = encode(backend, CONTRARY)
    losses = {mean_loss(Examples(), backend.loaded.decoder, rows) for _ in range(3)}
    assert len(losses) == 1


def test_weight_decay_shrinks_matrices_and_leaves_the_rest_to_the_loss(tiny_folder: Path) -> None:
    weights = dataclasses.replace(WEIGHTS, dora=True, weight_decay=0.5, learning_rate=0.1)
    learning = learner.begin(open_in_float32(tiny_folder).loaded.decoder, weights, seed=5)
    before = learning.tensors()
    optimizer = learning.optimizer(weights)
    for parameter in learning.parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in learning.tensors().items():
        share = 1.0 if "magnitude" in name else 1 - 0.1 * 0.5
        torch.testing.assert_close(value, before[name] * share)


def test_full_weights_beside_bfloat16_move_by_less_than_it_can_tell(tiny_folder: Path) -> None:
    backend = open_in_float32(tiny_folder)
    decoder = Decoder(backend.loaded.decoder.model.to(torch.bfloat16))
    learning = learner.begin(decoder, FULL, seed=5)
    assert {p.dtype for p in learning.parameters} == {torch.float32}
    before = learning.tensors()
    take_gradient(decoder, Examples(), encode(backend, PAIRS))
    assert all(part.grad is None for part in decoder.weights().values())
    assert all(exact.grad is not None for exact in learning.parameters)
    with torch.no_grad():
        for exact in learning.parameters:
            exact += 1e-6 * exact.abs()
    learning.stepped()
    after = learning.tensors()
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert {part.dtype for part in decoder.weights().values()} == {torch.bfloat16}


# ---------------------------------------------------------------- what goes wrong


def test_a_loss_that_is_no_number_later_on_keeps_the_best_weights_and_says_so(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = take_gradient
    steps = iter(range(100))

    def poisoned(*given: Any) -> float:
        loss: float = backward(*given)
        return math.nan if next(steps) == 5 else loss

    monkeypatch.setattr(loop, "backward", poisoned)
    backend, state = Run(tiny_folder, tmp_path)()
    chosen = loop.batches.rows_of_step(len(PAIRS), 3, 5, 5)
    assert state.trouble == f"the loss was nan at step 6 (training rows {chosen})"
    assert state.stopped == f"{state.trouble}; the weights of step 4 were kept"
    assert state.best_step == 4
    again, resumed = Run(tiny_folder, tmp_path)()
    assert resumed == state  # it is not tried again
    assert equal(learned(again), learned(backend))


def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = take_gradient

    def poisoned(decoder: Any, *given: Any) -> float:
        found: float = backward(decoder, *given)
        _, layer = next(lora.layers(decoder.model))
        layer.adapters[learner.ADAPTER].b.grad[0, 0] = math.inf
        return found

    monkeypatch.setattr(loop, "backward", poisoned)
    with pytest.raises(TrainingError, match="gradients were inf at step 1"):
        Run(tiny_folder, tmp_path)()
    assert checkpoint.latest(tmp_path) is None


def test_when_memory_runs_out_fewer_rows_run_at_once_and_the_step_is_the_same(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = Run(tiny_folder, tmp_path / "enough")()
    sizes: list[int] = []

    class Scarce(Examples):
        """Memory for two rows at once."""

        def loss(self, decoder: Any, rows: Any) -> torch.Tensor:
            sizes.append(len(rows))
            if len(rows) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().loss(decoder, rows)

    monkeypatch.setattr("test_training_loop.Examples", Scarce)
    backend, state = Run(tiny_folder, tmp_path / "scarce")()
    assert state.halved > 0
    assert state.step == NUM_STEPS
    assert max(sizes[state.halved :]) <= 2
    assert sizes[: state.halved] == [3] * state.halved  # and then never again
    for name, value in learned(backend).items():
        torch.testing.assert_close(value, learned(expected)[name], rtol=1e-3, atol=1e-4)


def test_when_memory_runs_out_two_lanes_become_one_before_rows_are_halved(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = Run(tiny_folder, tmp_path / "enough")()

    class Scarce(Examples):
        """Memory for one batch at once."""

        def loss(self, decoder: Any, rows: Any) -> torch.Tensor:
            if decoder.lanes > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().loss(decoder, rows)

    monkeypatch.setattr("test_training_loop.Examples", Scarce)
    begin = learner.begin

    def in_lanes(decoder: Any, *given: Any, **named: Any) -> Any:
        decoder.lanes = 2
        return begin(decoder, *given, **named)

    monkeypatch.setattr(learner, "begin", in_lanes)
    backend, state = Run(tiny_folder, tmp_path / "scarce")()
    decoder = backend.loaded.decoder
    assert (state.halved, decoder.lanes, decoder.tokens_at_once) == (1, 1, MICRO_BATCH_TOKENS)
    for name, value in learned(backend).items():
        torch.testing.assert_close(value, learned(expected)[name], rtol=1e-3, atol=1e-4)


def test_memory_for_not_even_one_row_is_an_error_that_says_how_long_it_is(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted(Examples):
        def loss(self, decoder: Any, rows: Any) -> torch.Tensor:
            raise MemoryError

    monkeypatch.setattr("test_training_loop.Examples", Exhausted)
    with pytest.raises(
        TrainingError,
        match=r"memory ran out at step 1 with \d+ tokens at once",
    ):
        Run(tiny_folder, tmp_path)()


def test_fewer_rows_than_a_batch_are_a_batch(tiny_folder: Path, tmp_path: Path) -> None:
    weights = dataclasses.replace(WEIGHTS, batch_size=64)
    _, state = Run(tiny_folder, tmp_path, weights)()
    assert state.step == 4
    assert [point["epoch"] for point in state.points] == [1, 2, 3, 4]


# ---------------------------------------------------------------- kills at any moment


@contextlib.contextmanager
def killed_at(moment: int) -> Iterator[list[int]]:
    """Whatever touches a disk is a moment; at one of them the process is gone, cleaning up
    nothing."""
    seen = [0]

    def passing(operation: Callable[..., Any]) -> Callable[..., Any]:
        def arrive() -> None:
            seen[0] += 1
            if seen[0] == moment:
                raise KilledError

        def run(*args: Any, **kwargs: Any) -> Any:
            arrive()
            found = operation(*args, **kwargs)
            arrive()
            return found

        return run

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (checkpoint, "save_file"),
            (checkpoint.os, "fsync"),
            (checkpoint.shutil, "rmtree"),
            (Path, "rename"),
            (Path, "write_text"),
        ):
            patch.setattr(owner, name, passing(getattr(owner, name)))
        yield seen


class KilledError(BaseException):
    """Nothing that catches errors catches a kill."""


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_of_a_save_a_run_ends_as_an_uninterrupted_one(
    tiny_folder: Path, tmp_path: Path, whole: tuple[Any, loop.State], seed: int
) -> None:
    run = Run(tiny_folder, tmp_path, held_out=CONTRARY)
    chance = random.Random(seed)
    kills = 0
    for moment in chance.choices(range(1, 60), k=3):
        with contextlib.suppress(KilledError), killed_at(moment) as seen:
            run()
        kills += seen[0] == moment
    assert kills == 3
    backend, state = run()
    assert state == whole[1]
    assert equal(learned(backend), learned(whole[0]))

"""The training loop: evaluate, maybe save, step, log.

Defaults and where they come from
    all linear layers, alpha = 2 rank, learning rate about ten times that of full fine-tuning,
    batch of at most 32 rows: "LoRA Without Regret" (Schulman et al. 2025)
    AdamW betas 0.9, 0.999, gradient norm clipped at 1: customary
    no weight decay and no dropout: early stopping does their work; docs/log/2026-11-26-weights.md
    warm-up over 6 % of the steps, then a cosine to a tenth of the peak: Loshchilov & Hutter 2017
    evaluation twice an epoch, stop after `patience` epochs' worth without a new best: ours,
    not measured
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steelyard.core import Json, Weights
from steelyard.errors import TrainingError
from steelyard.models.torch_backend import out_of_memory
from steelyard.training import batches, checkpoint
from steelyard.training.job import Progress
from steelyard.training.learner import Learner
from steelyard.training.objective import Lesson, Objective, Pace, Row
from steelyard.training.ranks import ALONE, Ranks
from steelyard.training.sharding import gathered, spread
from steelyard.training.step import backward, halve

EVALUATIONS_PER_EPOCH = 2
FLOOR = 0.1  # of the peak learning rate, at the end
BETTER = 1e-3  # by this share a held-out loss must fall to count as better


@dataclass(slots=True)
class State:
    """What a resumed run must know beside the tensors.

    `num_steps` are those of the whole course, and `stopped` is why there will be no more of them.
    `halved` counts how often memory ran out; `trouble` is what ended the training too early.
    """

    step: int = 0
    num_steps: int = 0
    best_step: int | None = None
    best_loss: float = math.inf
    points: list[dict[str, float | None]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    halved: int = 0
    stopped: str = ""
    trouble: str | None = None


def train(
    learner: Learner,
    lesson: Lesson[Row],
    *,
    weights: Weights,
    seed: int,
    folder: Path,
    log: Callable[[Progress], None],
    ranks: Ranks = ALONE,
) -> State:
    """Leave the best weights in the learner, in each of the processes that take part.

    The same lesson, weights and seed give the same result, also when the process was killed and
    started again over the same `folder`, or paused on the way (`Lesson.until`): a pause only comes
    where weights are saved anyway, and what went on past it already goes on to the end.

    Raises:
        TrainingError: the loss is not a number before there are weights worth keeping, or not
        even one row fits the memory, or a checkpoint cannot be written.
    """
    rows = lesson.rows
    per_epoch = batches.steps_per_epoch(len(rows), weights.batch_size)
    pace = lesson.pace or usual_pace(weights, per_epoch)
    optimizer = learner.optimizer(weights)
    state, best = _begun(learner, optimizer, folder, pace)
    pause = _pause(lesson.until, pace, state.step)

    while not state.stopped:
        step = state.step
        if step == pause and not state.loss_count:
            break
        if state.loss_count and (step % pace.every == 0 or step == pace.num_steps):
            point = _evaluate(learner, lesson, state, per_epoch, ranks)
            loss = point["held_out_loss"]
            log(Progress(step, pace.num_steps, step / per_epoch, point["train_loss"], loss))
            if _judged(state, loss, pace=pace, weights=weights, per_epoch=per_epoch):
                best = learner.tensors()
            _save(folder, state, _tensors(learner, optimizer, best, state), ranks)
            continue

        set_learning_rate(optimizer, weights, pace, step=step)
        chosen = batches.rows_of_step(len(rows), weights.batch_size, step, seed)
        torch.manual_seed(_seed_of(seed, step, ranks.rank))
        mine = _take(learner, lesson.objective, [rows[i] for i in chosen], state, ranks)
        loss_sum, count = ranks.add_up(learner.parameters, mine), _count(lesson, chosen)
        norm = ranks.clip(learner.parameters, 1.0)
        if not (math.isfinite(loss_sum) and math.isfinite(norm)):
            _give_up(state, chosen, loss_sum=loss_sum, norm=norm)
            _save(folder, state, _tensors(learner, optimizer, best, state), ranks)
            continue
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        learner.stepped()
        state.step += 1
        state.loss_sum += loss_sum
        state.loss_count += count
        log(Progress(state.step, pace.num_steps, state.step / per_epoch, loss_sum / count))

    learner.assign(best)
    return state


def _begun(
    learner: Learner, optimizer: Any, folder: Path, pace: Pace
) -> tuple[State, dict[str, Tensor]]:
    """Where the newest checkpoint left the training, put back, and the best weights so far; the
    beginning where there is none."""
    if (found := checkpoint.latest(folder)) is None:
        return State(num_steps=pace.num_steps), learner.tensors()
    tensors, plain = found
    state = State(**{**plain, "num_steps": pace.num_steps})
    for _ in range(state.halved):
        halve(learner.decoder)
    return state, _restore(learner, optimizer, tensors)


def _judged(
    state: State, loss: float | None, *, pace: Pace, weights: Weights, per_epoch: int
) -> bool:
    """Whether the weights are the best so far, by their held-out loss; says in `state` so, and
    whether that was the last step."""
    step = state.step
    is_best = loss is None or loss < state.best_loss * (1 - pace.better)
    if is_best:
        state.best_loss = state.best_loss if loss is None else loss
        state.best_step = step
    waited = (step - (state.best_step or 0)) / per_epoch
    if step == pace.num_steps:
        state.stopped = f"after {round(pace.num_steps / per_epoch, 2):g} epochs"
    elif waited >= weights.patience:
        state.stopped = f"held-out loss had not fallen for {weights.patience} epochs"
    return is_best


def _pause(until: float, pace: Pace, step: int) -> int | None:
    """The first step at the share `until` or later after which one looks; None where `step`, or
    the end, is there already."""
    pause = pace.every * math.ceil(until * pace.num_steps / pace.every)
    return pause if step <= pause < pace.num_steps else None


def usual_pace(weights: Weights, per_epoch: int) -> Pace:
    """All epochs, with a look at how far it is twice in each."""
    every = max(1, per_epoch // EVALUATIONS_PER_EPOCH)
    return Pace(per_epoch * weights.epochs, every, FLOOR, BETTER)


def _evaluate(
    learner: Learner, lesson: Lesson[Row], state: State, per_epoch: int, ranks: Ranks
) -> dict[str, Json]:
    """The next point of the learning curve."""
    point: dict[str, Json] = {
        "step": state.step,
        "epoch": state.step / per_epoch,
        "train_loss": state.loss_sum / state.loss_count,
        "held_out_loss": None,
    }
    if lesson.held_out:
        found = lesson.objective.held_out(learner.decoder, lesson.held_out)
        point.update(ranks.agree(found))
    state.points.append(point)
    state.loss_sum, state.loss_count = 0.0, 0
    return point


def _save(folder: Path, state: State, tensors: dict[str, Tensor], ranks: Ranks) -> None:
    if ranks.leads:
        checkpoint.save(folder, state.step, tensors, asdict(state))


def _take(
    learner: Learner, objective: Objective[Row], rows: Sequence[Row], state: State, ranks: Ranks
) -> float:
    """Leave the gradient of one step, with fewer rows at once where memory runs out."""
    decoder = learner.decoder
    while True:
        try:
            return backward(decoder, objective, rows, ranks)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            # Where processes lend each other weights, all must run as many times as each other.
            one_row = decoder.lanes == 1 and decoder.tokens_at_once <= min(map(len, rows))
            if ranks.size > 1 or one_row:
                raise TrainingError(
                    f"memory ran out at step {state.step + 1} with {decoder.tokens_at_once} "
                    f"tokens at once, and the longest row has {max(map(len, rows))}; shorten the "
                    "inputs, lower [limits] memory_gb, or free some memory"
                ) from error
        for parameter in learner.parameters:
            parameter.grad = None
        state.halved += 1
        halve(decoder)
        torch.manual_seed(torch.initial_seed())  # the same chance again


def _count(lesson: Lesson[Row], chosen: Sequence[int]) -> int:
    return sum(lesson.objective.count(lesson.rows[i]) for i in chosen)


def _seed_of(seed: int, step: int, rank: int) -> int:
    """Chance (dropout) in a step is a function of these, so that a checkpoint holds its state by
    holding the step."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{rank}".encode()).digest()[:7])


def _give_up(state: State, chosen: Sequence[int], *, loss_sum: float, norm: float) -> None:
    """Stop with the best weights so far, where a step came to what is no number.

    Raises:
        TrainingError: there are none.
    """
    was = f"gradients were {norm}" if math.isfinite(loss_sum) else f"the loss was {loss_sum}"
    wrong = f"{was} at step {state.step + 1} (training rows {chosen})"
    if state.best_step is None:
        raise TrainingError(f"{wrong}; lower the learning rate or look at these rows")
    state.trouble = wrong
    state.stopped = f"{wrong}; the weights of step {state.best_step} were kept"


def set_learning_rate(optimizer: Any, weights: Weights, pace: Pace, *, step: int) -> None:
    """Linear warm-up, then a cosine down to the floor's share of the peak.

    Groups of parameters with a peak of their own ("peak") keep it.
    """
    warmup = max(1, round(weights.warmup_share * pace.num_steps))
    if step < warmup:
        share = (step + 1) / warmup
    else:
        done = (step - warmup) / max(1, pace.num_steps - warmup)
        share = pace.floor + (1 - pace.floor) * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = group.get("peak", weights.peak_learning_rate) * share


def _tensors(
    learner: Learner, optimizer: Any, best: dict[str, Tensor], state: State
) -> dict[str, Tensor]:
    tensors = {f"now.{k}": v for k, v in learner.tensors().items()}
    if state.best_step != state.step:  # else they are the same
        tensors |= {f"best.{k}": v for k, v in best.items()}
    for n, parameter in enumerate(learner.parameters):
        for k, value in optimizer.state[parameter].items():
            tensors[f"adam.{n}.{k}"] = gathered(value).detach().cpu()
    return tensors


def _restore(learner: Learner, optimizer: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a checkpoint back into learner and optimiser; returns the best weights so far."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    now = part("now.")
    learner.assign(now)
    for key, value in part("adam.").items():
        n, _, name = key.partition(".")
        parameter = learner.parameters[int(n)]
        is_moment = value.ndim > 0  # and not the number of steps
        like = spread(value, parameter) if is_moment else value.to(parameter.device)
        optimizer.state[parameter][name] = like
    return part("best.") or now

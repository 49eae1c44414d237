"""The training loop: evaluate, maybe save, step, log.

Defaults and where they come from
    all linear layers, alpha = 2 rank, learning rate about ten times that of full fine-tuning,
    batch of at most 32 rows: "LoRA Without Regret" (Schulman et al. 2025)
    AdamW betas 0.9, 0.999, no weight decay, gradient norm clipped at 1: customary
    warm-up over 6 % of the steps, then a cosine to a tenth of the peak: Loshchilov & Hutter 2017
    evaluation twice an epoch, stop after `patience` epochs' worth without a new best: ours,
    not measured
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steelyard.core import Weights
from steelyard.errors import TrainingError
from steelyard.models.decoder import Decoder
from steelyard.models.tuning import settle_threads
from steelyard.training import batches, checkpoint
from steelyard.training.job import Progress
from steelyard.training.learner import Learner
from steelyard.training.objective import Lesson, Objective, Row

EVALUATIONS_PER_EPOCH = 2
FLOOR = 0.1  # of the peak learning rate, at the end
BETTER = 1e-3  # a held-out loss must fall by this share to count as better


@dataclass(slots=True)
class State:
    """What a resumed run must know beside the tensors."""

    step: int = 0
    best_step: int | None = None
    best_loss: float = math.inf
    points: list[dict[str, float | None]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    stopped: str = ""


def train(
    learner: Learner,
    lesson: Lesson[Row],
    *,
    weights: Weights,
    seed: int,
    folder: Path,
    log: Callable[[Progress], None],
) -> State:
    """Leave the best weights in the learner.

    The same lesson, weights and seed give the same result, also when the process was killed and
    started again over the same `folder`.

    Raises:
        TrainingError: the loss is not a number.
    """
    decoder, rows = learner.decoder, lesson.rows
    per_epoch = batches.steps_per_epoch(len(rows), weights.batch_size)
    num_steps = per_epoch * weights.epochs
    every = max(1, per_epoch // EVALUATIONS_PER_EPOCH)
    optimizer = torch.optim.AdamW(
        learner.parameters, lr=weights.learning_rate, weight_decay=0.0, fused=True
    )
    best = learner.tensors()
    state = State()
    if (found := checkpoint.latest(folder)) is not None:
        tensors, plain = found
        state = State(**plain)
        best = _restore(learner, optimizer, tensors)

    while not state.stopped:
        step = state.step
        if state.loss_count and (step % every == 0 or step == num_steps):
            train_loss = state.loss_sum / state.loss_count
            state.points.append(
                {
                    "step": step,
                    "epoch": step / per_epoch,
                    "train_loss": train_loss,
                    "held_out_loss": None,
                }
            )
            if lesson.held_out:
                state.points[-1].update(lesson.objective.held_out(decoder, lesson.held_out))
            loss = state.points[-1]["held_out_loss"]
            log(Progress(step, num_steps, step / per_epoch, train_loss, loss))
            state.loss_sum, state.loss_count = 0.0, 0
            if loss is None or loss < state.best_loss * (1 - BETTER):
                state.best_loss = state.best_loss if loss is None else loss
                state.best_step, best = step, learner.tensors()
            waited = (step - (state.best_step or 0)) / per_epoch
            if step == num_steps:
                state.stopped = f"after {weights.epochs} epochs"
            elif waited >= weights.patience:
                state.stopped = f"held-out loss had not fallen for {weights.patience} epochs"
            checkpoint.save(folder, step, _tensors(learner, optimizer, best), asdict(state))
            continue

        settle_threads(decoder.dtype)
        set_learning_rate(optimizer, weights, step=step, num_steps=num_steps)
        chosen = batches.rows_of_step(len(rows), weights.batch_size, step, seed)
        loss_sum, count = backward(decoder, lesson.objective, [rows[i] for i in chosen])
        if not math.isfinite(loss_sum):
            raise TrainingError(
                f"the loss was {loss_sum} at step {step + 1} (training rows {chosen}); "
                "lower the learning rate or look at these rows"
            )
        torch.nn.utils.clip_grad_norm_(learner.parameters, 1.0)
        optimizer.step()
        learner.stepped()
        optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.loss_sum += loss_sum
        state.loss_count += count
        log(Progress(state.step, num_steps, state.step / per_epoch, loss_sum / count))

    learner.assign(best)
    return state


def backward(decoder: Decoder, objective: Objective[Row], rows: Sequence[Row]) -> tuple[float, int]:
    """Accumulate the gradient of the mean loss over the rows of one step.

    Micro-batches are weighted by what is counted in them, so how the rows are split does not
    change the gradient. Returns the summed loss in nats and the count.
    """
    count = sum(map(objective.count, rows))
    losses = []
    for micro in objective.micro_batches(rows, decoder.tokens_at_once):
        loss = objective.loss(decoder, micro)
        (loss / count).backward()
        losses.append(loss.detach())
    return float(torch.stack(losses).sum()), count  # the one wait for a GPU in a step


def set_learning_rate(optimizer: Any, weights: Weights, *, step: int, num_steps: int) -> None:
    """Linear warm-up, then a cosine down to `FLOOR` of the peak."""
    warmup = max(1, round(weights.warmup_share * num_steps))
    if step < warmup:
        share = (step + 1) / warmup
    else:
        done = (step - warmup) / max(1, num_steps - warmup)
        share = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = weights.learning_rate * share


def _tensors(learner: Learner, optimizer: Any, best: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {f"now.{k}": v for k, v in learner.tensors().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v.detach().cpu() for k, v in moments.items()}
    return tensors


def _restore(learner: Learner, optimizer: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a checkpoint back into learner and optimiser; returns the best weights so far."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    learner.assign(part("now."))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in part("adam.").items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return part("best.")

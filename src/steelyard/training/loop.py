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
from steelyard.models import lora
from steelyard.models.attention import WholeRows, take
from steelyard.models.decoder import Decoder
from steelyard.models.tuning import settle_threads
from steelyard.training import batches, checkpoint
from steelyard.training.batches import Encoded
from steelyard.training.job import Progress
from steelyard.training.target_loss import target_loss

ADAPTER = "in_training"
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
    loss_tokens: int = 0
    stopped: str = ""


def train(
    decoder: Decoder,
    rows: Sequence[Encoded],
    held_out: Sequence[Encoded],
    *,
    weights: Weights,
    seed: int,
    folder: Path,
    log: Callable[[Progress], None],
) -> State:
    """Leave the best adapter in the model, under the name `ADAPTER`.

    The same rows, weights and seed give the same adapter, also when the process was killed and
    started again over the same `folder`.

    Raises:
        TrainingError: the loss is not a number.
    """
    model = decoder.model
    per_epoch = batches.steps_per_epoch(len(rows), weights.batch_size)
    num_steps = per_epoch * weights.epochs
    every = max(1, per_epoch // EVALUATIONS_PER_EPOCH)
    parameters = lora.add(model, ADAPTER, rank=weights.rank, alpha=weights.alpha, seed=seed)
    optimizer = torch.optim.AdamW(
        parameters, lr=weights.learning_rate, weight_decay=0.0, fused=True
    )
    best = lora.tensors(model, ADAPTER)
    state = State()
    if (found := checkpoint.latest(folder)) is not None:
        tensors, plain = found
        state = State(**plain)
        best = _restore(model, optimizer, tensors)

    while not state.stopped:
        step = state.step
        if state.loss_tokens and (step % every == 0 or step == num_steps):
            loss = mean_loss(decoder, held_out) if held_out else None
            state.points.append(
                {
                    "step": step,
                    "epoch": step / per_epoch,
                    "train_loss": state.loss_sum / state.loss_tokens,
                    "held_out_loss": loss,
                }
            )
            log(Progress(step, num_steps, step / per_epoch, state.points[-1]["train_loss"], loss))
            state.loss_sum, state.loss_tokens = 0.0, 0
            if loss is None or loss < state.best_loss * (1 - BETTER):
                state.best_loss = state.best_loss if loss is None else loss
                state.best_step, best = step, lora.tensors(model, ADAPTER)
            waited = (step - (state.best_step or 0)) / per_epoch
            if step == num_steps:
                state.stopped = f"after {weights.epochs} epochs"
            elif waited >= weights.patience:
                state.stopped = f"held-out loss had not fallen for {weights.patience} epochs"
            checkpoint.save(folder, step, _tensors(model, optimizer, best), asdict(state))
            continue

        settle_threads(decoder.dtype)
        set_learning_rate(optimizer, weights, step=step, num_steps=num_steps)
        chosen = batches.rows_of_step(len(rows), weights.batch_size, step, seed)
        loss_sum, tokens = backward(decoder, [rows[i] for i in chosen])
        if not math.isfinite(loss_sum):
            raise TrainingError(
                f"the loss was {loss_sum} at step {step + 1} (training rows {chosen}); "
                "lower the learning rate or look at these rows"
            )
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.loss_sum += loss_sum
        state.loss_tokens += tokens
        log(Progress(state.step, num_steps, state.step / per_epoch, loss_sum / tokens))

    lora.assign(model, ADAPTER, best)
    return state


def backward(decoder: Decoder, rows: Sequence[Encoded]) -> tuple[float, int]:
    """Accumulate the gradient of the mean loss per target token over the rows of one step.

    Micro-batches are weighted by their tokens, so how the rows are split does not change the
    gradient. Returns the summed loss in nats and the number of target tokens.
    """
    tokens = sum(len(row.target) for row in rows)
    losses = []
    for micro in batches.micro_batches(rows, decoder.tokens_at_once):
        loss = summed_loss(decoder, micro)
        (loss / tokens).backward()
        losses.append(loss.detach())
    return float(torch.stack(losses).sum()), tokens  # the one wait for a GPU in a step


def mean_loss(decoder: Decoder, rows: Sequence[Encoded]) -> float:
    """Loss per target token, in nats."""
    micros = batches.micro_batches(rows, decoder.tokens_at_once)
    with torch.inference_mode():
        total = sum(float(summed_loss(decoder, micro)) for micro in micros)
    return total / sum(len(row.target) for row in rows)


def summed_loss(decoder: Decoder, rows: Sequence[Encoded]) -> Tensor:
    """Cross-entropy summed over target tokens; logits are computed for these alone."""
    batch = batches.pack(rows, decoder.device)
    attend = WholeRows(batch.shared, batch.packing, decoder.head.weight)
    states = take(decoder(batch.ids, batch.positions, attend), batch.states)
    return target_loss(states, decoder.output, batch.targets)


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


def _tensors(model: Any, optimizer: Any, best: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {f"now.{k}": v for k, v in lora.tensors(model, ADAPTER).items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v.detach().cpu() for k, v in moments.items()}
    return tensors


def _restore(model: Any, optimizer: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a checkpoint back into model and optimiser; returns the best adapter so far."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    lora.assign(model, ADAPTER, part("now."))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in part("adam.").items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return part("best.")

"""Several processes that train one model, each on its share of the rows of every step.

    torchrun --nproc-per-node 2 -m steelyard.training.worker FOLDER

All hold the same weights and take the same steps: gradients are added up over the processes
before each one. The first of them alone writes checkpoints, progress and the result.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from steelyard.training.objective import Row

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this is. One alone talks to nobody."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """The group that torchrun started this process in; alone where it did not."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if on_gpu else "gloo")
        return cls(dist.get_rank(), size)

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, rows: Sequence[Row]) -> Sequence[Row]:
        """This process's rows of a step, about as long together as those of each other."""
        return rows if self.size == 1 else sorted(rows, key=len)[self.rank :: self.size]

    def add_up(self, parameters: Sequence[nn.Parameter], loss_sum: float) -> float:
        """Leave the sum of all gradients in each process, and return that of the losses."""
        if self.size == 1:
            return loss_sum
        total = torch.tensor(loss_sum, dtype=torch.float64, device=parameters[0].device)
        under_way = [dist.all_reduce(total, async_op=True)]
        for parameter in parameters:
            if parameter.grad is None:  # there were fewer rows than processes
                parameter.grad = torch.zeros_like(parameter)
            under_way.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in under_way:
            work.wait()
        return float(total)

    def agree(self, value: T) -> T:
        """The first one's value, for what all must decide alike."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def leave(self) -> None:
        """Wait for the others and end the group."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()

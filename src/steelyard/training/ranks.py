"""Several processes that train one model, each on its share of the rows of every step.

    torchrun --nproc-per-node 2 -m steelyard.training.worker FOLDER

The layers' weights are spread over them (`sharding.py`), and what all hold has its gradients added
up before each step. The first alone writes checkpoints, progress and the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from steelyard.training.lanes import part
from steelyard.training.objective import Row
from steelyard.training.sharding import held

# torchrun ends all when one dies, so this only ends what hangs. The first may take hours to write
# what the others wait for.
WAITING = timedelta(days=1)

Made = TypeVar("Made")


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
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=WAITING)
        return cls(dist.get_rank(), size)

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def after_the_first(self, make: Callable[[], Made]) -> Made:
        """What `make` gives, once the first process has made it: the others find what it kept."""
        if self.size > 1 and not self.leads:
            dist.barrier()
        made = make()
        if self.size > 1 and self.leads:
            dist.barrier()
        return made

    def share(self, rows: Sequence[Row]) -> Sequence[Row]:
        """This process's rows of a step, about as long together as those of each other."""
        return part(rows, self.rank, self.size)

    def most(self, number: int) -> int:
        """The largest of the numbers that the processes have."""
        if self.size == 1:
            return number
        box = torch.tensor(number, device=_device())
        dist.all_reduce(box, dist.ReduceOp.MAX)
        return int(box)

    def add_up(self, parameters: Sequence[nn.Parameter], loss_sum: float) -> float:
        """Leave the sum of the gradients of what all hold in each, and return that of the losses.

        Those of what is spread over the processes are sums already.
        """
        if self.size == 1:
            return loss_sum
        total = torch.tensor(loss_sum, dtype=torch.float64, device=_device())
        under_way = [dist.all_reduce(total, async_op=True)]
        for parameter in parameters:
            if parameter.grad is not None and not isinstance(parameter, DTensor):
                under_way.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in under_way:
            work.wait()
        return float(total)

    def clip(self, parameters: Sequence[nn.Parameter], longest: float) -> float:
        """Shorten the gradient, all parameters' together, and return how long it was."""
        if self.size == 1:
            return float(nn.utils.clip_grad_norm_(parameters, longest))
        gradients = [p.grad for p in parameters if p.grad is not None]
        squares = torch.zeros(2, dtype=torch.float64, device=_device())  # of all, of this part
        for gradient in gradients:
            spread = isinstance(gradient, DTensor)
            squares[int(spread)] += held(gradient).double().square().sum()
        dist.all_reduce(squares[1])
        length = float(squares.sum().sqrt())
        for gradient in gradients:
            held(gradient).mul_(min(1.0, longest / (length + 1e-6)))  # as PyTorch's own does
        return length

    def agree(self, figures: dict[str, float]) -> dict[str, float]:
        """The first one's figures, for what all must decide alike; all have them by these names."""
        if self.size == 1:
            return figures
        names = sorted(figures)
        values = [figures[name] for name in names]
        box = torch.tensor(values, dtype=torch.float64, device=_device())
        dist.broadcast(box, src=0)
        return dict(zip(names, box.tolist(), strict=True))

    def leave(self) -> None:
        """Wait for the others and end the group."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


ALONE = Ranks()

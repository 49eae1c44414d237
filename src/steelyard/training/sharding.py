"""Weights of layers spread over processes, each of which holds a part and borrows the rest while it
runs a layer (FSDP2). Norms, embeddings and the head, which are few or used twice, are held by all.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from steelyard.models.decoder import Decoder


class _Unit(nn.Module):
    """A layer whose products find their weights here, where they are whole while it runs."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.run = layer.__call__
        self.products = layer.products
        for n, fused in enumerate(self.products):
            fused.let_go()
            fused.product.forget_layout()
            for kind in ("weight", "bias"):
                own = getattr(fused.product, kind)
                if own is not None and not own.requires_grad:
                    own = nn.Parameter(own, requires_grad=False)
                self.register_parameter(f"{kind}{n}", own)

    def forward(self, *given: Any) -> Tensor:
        self.lend()
        found: Tensor = self.run(*given)
        return found

    def lend(self) -> None:
        """Let the products use what stands here now."""
        for n, fused in enumerate(self.products):
            fused.product.weight = getattr(self, f"weight{n}")
            fused.product.bias = getattr(self, f"bias{n}")


def shard(decoder: Decoder) -> None:
    """Spread the layers' weights over the processes of the group. Gradients come as sums."""
    mesh = init_device_mesh(decoder.device.type, (dist.get_world_size(),))
    for n, layer in enumerate(decoder.layers):
        unit: Any = _Unit(layer)
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(enable=True)
        unit.lend()
        decoder.layers[n] = unit


def gathered(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread(value: Tensor, tensor: Tensor) -> Tensor:
    """The value, spread as the tensor is, and where that is."""
    if isinstance(tensor, DTensor):
        return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    return value.to(tensor.device)


def held(tensor: Tensor) -> Tensor:
    """What of a tensor is held here."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor

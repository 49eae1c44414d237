"""Linear layers and the adapters beside them, as few products as can be.

    y = x W + (x A) B           A: [in, R], B: [R, out]: the adapters of all parts, block by block

The backward pass beside frozen W is ours: W has no gradient, and the products of A and B are taken
once for all parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from steelyard.models import lora, quantised

ROWS_EXPECTED = 64  # a hint for the layout; it serves any number


class Product:
    """Wx + b, and perhaps an activation ("gelu") of it, which has no gradient.

    With frozen weights it uses them laid out for the processor, where oneDNN has such a layout,
    for both directions: plain products lay them out anew every time, which for few rows takes as
    long as they do. Weights that learn (`learn`) are used as they are.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, lay_out: bool, activation: str = "none"
    ) -> None:
        self.weight, self.bias = weight, bias
        self.lay_out = lay_out
        self.activation = activation
        self.packed: quantised.Packed | None = None
        self._forward: Tensor | None = None
        self._backward: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Shapes: [N, in] → [N, out]."""
        if self.weight.requires_grad and torch.is_grad_enabled():
            return functional.linear(x, self.weight, self.bias)
        if x.requires_grad and torch.is_grad_enabled():
            assert self.activation == "none"
            y: Tensor = _Frozen.apply(x, self)
            return y
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """The product itself, of which autograd knows nothing."""
        if not self.lay_out:
            plain = functional.linear(x, self.matrix(), self.bias)
            return functional.gelu(plain) if self.activation == "gelu" else plain
        if self._forward is None:
            self._forward = _laid_out(self.weight)
        return _product(x, self._forward, self.bias, self.activation)

    def backward(self, gradient: Tensor) -> Tensor:
        """What the input's gradient is. Shapes: [N, out] → [N, in]."""
        if not self.lay_out:
            return gradient @ self.matrix()
        if self._backward is None:
            self._backward = _laid_out(self.weight.t().contiguous())
        return _product(gradient.contiguous(), self._backward, None)

    def matrix(self) -> Tensor:
        """The weights. Shapes: [out, in]."""
        return self.weight if self.packed is None else self.packed.matrix()

    def quantise(self) -> None:
        """Keep the weights in four bits, and of the others their shape and type alone."""
        self.packed = quantised.Packed(self.weight)
        self.weight = self.weight.to("meta")
        self.forget_layout()

    def learn(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        """From now on the weights change: these, in the place of those there were."""
        self.weight, self.bias = weight.requires_grad_(), bias
        if bias is not None:
            bias.requires_grad_()
        self.forget_layout()

    def forget_layout(self) -> None:
        """From now on use the weights as they are."""
        self.lay_out = False
        self._forward = self._backward = None


def _laid_out(weight: Tensor) -> Tensor:
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS_EXPECTED)
    return laid_out


def _product(x: Tensor, laid_out: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, laid_out, bias, activation, [], "none")
    return y


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, product: Product) -> Tensor:
        ctx.product = product
        return product.forward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.product.backward(gradient), None


@dataclass(frozen=True)
class _Adapter:
    """The low-rank products of all parts as one. Shapes: down [R, in], up [R, out].

    `lengths` [out] are the rows' own, where the adapter gives them others.
    """

    down: Product
    up: Tensor
    lengths: Tensor | None


class Fused:
    """Linear layers of one input as one product, with the active adapter of each.

    The layers' own weights become views of the fused one, so that nothing is held twice.
    """

    def __init__(
        self, parent: nn.Module, names: list[str], switch: lora.Switch, *, lay_out: bool
    ) -> None:
        self.parts: list[lora.LoraLinear] = [getattr(parent, name) for name in names]
        self.switch = switch
        bases = [part.base for part in self.parts]
        weight = bases[0].weight.detach()
        if len(bases) > 1:
            weight = torch.cat([base.weight.detach() for base in bases])
            pieces = weight.split([base.out_features for base in bases])
            for base, piece in zip(bases, pieces, strict=True):
                base.weight = nn.Parameter(piece, requires_grad=False)
        biases = [base.bias for base in bases]
        bias = torch.cat(biases).detach() if biases[0] is not None else None
        self.product = Product(weight, bias, lay_out=lay_out)
        self._frozen: dict[str, _Adapter] = {}

    def learn(self) -> None:
        """Let the layers themselves change; their own weights and biases become views."""
        weight, bias = nn.Parameter(self.product.weight.detach()), None
        if self.product.bias is not None:
            bias = nn.Parameter(self.product.bias.detach())
        first = 0
        for part in self.parts:
            own = slice(first, first := first + part.base.out_features)
            part.base.weight = nn.Parameter(weight.detach()[own], requires_grad=False)
            if bias is not None:
                part.base.bias = nn.Parameter(bias.detach()[own], requires_grad=False)
        self.product.learn(weight, bias)

    def quantise(self) -> None:
        """Keep the layers' weights in four bits; their own are gone."""
        self.product.quantise()
        self.let_go()

    def let_go(self) -> None:
        """Leave the layers nothing but shapes: what is true stands in the product."""
        for part in self.parts:
            for kind in ("weight", "bias"):
                if (own := getattr(part.base, kind)) is not None:
                    shape = nn.Parameter(own.detach().to("meta"), requires_grad=False)
                    setattr(part.base, kind, shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Shapes: [N, in] → [N, sum of out]."""
        name = self.switch.active
        if name is None:
            return self.product(x)
        pairs: list[Any] = [part.adapters[name] for part in self.parts]
        adapter = self._prepared(name, pairs)
        y = self._adapted(x, adapter, pairs)
        if adapter.lengths is None:
            return y
        magnitude = torch.cat([pair.magnitude for pair in pairs])
        return lora.rescaled(y, magnitude / adapter.lengths, self.product.bias)

    def _adapted(self, x: Tensor, adapter: _Adapter, pairs: list[Any]) -> Tensor:
        if not torch.is_grad_enabled():
            return self.product.forward(x).addmm_(adapter.down.forward(x), adapter.up)
        if pairs[0].frozen:
            return self.product(x) + adapter.down(x) @ adapter.up
        dropout = self.switch.dropout
        seen = functional.dropout(x, dropout) if dropout else None
        parameters = [tensor for pair in pairs for tensor in (pair.a, pair.b)]
        y: Tensor = _WithAdapter.apply(x, seen, self.product, adapter, pairs, *parameters)
        return y

    def _prepared(self, name: str, pairs: list[Any]) -> _Adapter:
        """The adapter in the base's type: made once when it is frozen, anew while it learns."""
        if name in self._frozen:
            return self._frozen[name]
        dtype = self.product.weight.dtype
        with torch.no_grad():
            down = torch.cat([pair.a for pair in pairs]).to(dtype)
            up = down.new_zeros(len(down), len(self.product.weight))
            row = column = 0
            for pair in pairs:
                rank, out = pair.b.shape[1], pair.b.shape[0]
                up[row : row + rank, column : column + out] = (pair.b * pair.scale).t()
                row, column = row + rank, column + out
            lengths = None
            if pairs[0].magnitude is not None:
                weights = self.product.matrix().split([len(pair.b) for pair in pairs])
                own = [
                    lora.row_lengths(weight, pair.a, pair.b * pair.scale)
                    for weight, pair in zip(weights, pairs, strict=True)
                ]
                lengths = torch.cat(own)
        frozen = pairs[0].frozen
        prepared = Product(down, None, lay_out=frozen and self.product.lay_out)
        adapter = _Adapter(prepared, up, lengths)
        if frozen:
            self._frozen[name] = adapter
        return adapter


class _WithAdapter(torch.autograd.Function):
    """The product, and the adapter of what it sees: of `x`, or of `seen` where that differs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        seen: Tensor | None,
        product: Product,
        adapter: _Adapter,
        pairs: list[Any],
        *_: Tensor,
    ) -> Tensor:
        read = x if seen is None else seen
        low = adapter.down.forward(read)
        ctx.save_for_backward(read, low)
        ctx.product, ctx.adapter, ctx.pairs, ctx.apart = product, adapter, pairs, seen is not None
        return product.forward(x).addmm_(low, adapter.up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        read, low = ctx.saved_tensors
        down, up = ctx.adapter.down.weight, ctx.adapter.up
        to_low = gradient @ up.t()
        to_down = (to_low.t() @ read).float()
        to_up = (low.t() @ gradient).t()
        found: list[Tensor | None] = []
        row = column = 0
        for pair in ctx.pairs:
            rank, out = pair.b.shape[1], pair.b.shape[0]
            found.append(to_down[row : row + rank])
            found.append(to_up[column : column + out, row : row + rank].float() * pair.scale)
            row, column = row + rank, column + out
        to_x = to_seen = None
        if ctx.needs_input_grad[0]:
            to_x = ctx.product.backward(gradient)
            if ctx.apart:
                to_seen = to_low @ down
            else:
                to_x.addmm_(to_low, down)
        return (to_x, to_seen, None, None, None, *found)

"""One pass of a Llama-like model over packed tokens, for answering and training alike.

The tokens of all rows stand one after the other, [N], without padding:

    row 0: a b c     row 1: d     row 2: e f      →      a b c d e f

Every layer but attention looks at one token at a time and does not care where a row ends; which
token sees which is the business of the `Attend` it is given. Layers that read the same input are
multiplied as one matrix (query, key and value; gate and up), and so are their adapters.

The weights, norms and rotary angles are those of the Hugging Face model. Opening a model compares
the two on the same tokens (`loading.py`), so a family that works otherwise is refused, not run
wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steelyard.models import lora
from steelyard.models.fused import Fused, Product
from steelyard.models.gradients import rms_norm, rotate, swiglu

LAID_OUT_BYTES = 1_000_000_000  # layouts are copies; larger models go without. Source: ours

MICRO_BATCH_TOKENS = 2048  # tokens; more train no faster on two cores. Source: ours


class Attend(Protocol):
    """Attention of one pass: which tokens see which, and where keys and values are kept."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, /) -> Tensor:
        """Shapes: query [N, H, D], key and value [N, K, D] → [N, H · D]."""
        ...


class Decoder:
    """The layers of a causal language model, and its head."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.switch = lora.wrap(model)
        self.config = model.config
        self.embed = model.model.embed_tokens
        self.rotary = model.model.rotary_emb
        self.norm = _norm(model.model.norm)
        self.head = model.lm_head
        lay_out = (
            model.device.type == "cpu"
            and model.dtype == torch.bfloat16
            and torch.backends.mkldnn.is_available()
            and model.num_parameters() * model.dtype.itemsize <= LAID_OUT_BYTES
        )
        bias = None if self.head.bias is None else self.head.bias.detach()
        self.output = Product(self.head.weight.detach(), bias, lay_out=lay_out)
        self.layers = [_Layer(layer, self.switch, lay_out) for layer in model.model.layers]
        # While training: tokens per pass, how many passes run side by side, and whether layers
        # are computed twice and keep less.
        self.tokens_at_once = MICRO_BATCH_TOKENS
        self.lanes = 1
        self.checkpointing = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.head.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """In which type it calculates."""
        dtype: torch.dtype = self.head.weight.dtype
        return dtype

    def __call__(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The last hidden state of every token.

        Shapes: ids and positions [N] → [N, width].
        """
        x = self.embed(ids)
        cos, sin = self.rotary(x, positions[None])
        half = cos.shape[-1] // 2
        angles = cos[0, :, None, :half], sin[0, :, None, :half]
        for index, layer in enumerate(self.layers):
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, index, x, angles, attend, use_reentrant=False)
            else:
                x = layer(index, x, angles, attend)
        hidden: Tensor = self.norm(x)
        return hidden

    def fused(self) -> Iterator[Fused]:
        """The products of all layers."""
        for layer in self.layers:
            yield from layer.products

    def learn(self) -> None:
        """Let every weight have a gradient, and no adapter speak."""
        self.switch.active = None
        self.output.learn(self.head.weight, self.head.bias)
        for fused in self.fused():
            fused.learn()
        for parameter in self.weights().values():
            parameter.requires_grad_()

    def weights(self) -> dict[tuple[str, ...], nn.Parameter]:
        """Every weight that learns, once, under the names that the model has for its parts, which
        stand in it one after the other."""
        found: dict[tuple[str, ...], nn.Parameter] = {
            (name,): parameter
            for name, parameter in self.model.named_parameters()
            if ".base." not in name and ".adapters." not in name
        }
        names = {id(module): name for name, module in lora.layers(self.model)}
        for fused in self.fused():
            for kind in ("weight", "bias"):
                if (own := getattr(fused.product, kind)) is not None:
                    found[tuple(f"{names[id(part)]}.{kind}" for part in fused.parts)] = own
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits. Shapes: [N, width] → [N, V]."""
        return self.output(hidden).float()


class _Layer:
    def __init__(self, layer: Any, switch: lora.Switch, lay_out: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.first_norm = _norm(layer.input_layernorm)
        self.second_norm = _norm(layer.post_attention_layernorm)
        self.query_norm = getattr(attention, "q_norm", None)
        self.key_norm = getattr(attention, "k_norm", None)
        self.rotates = bool(getattr(attention, "use_rope", True))
        self.width = attention.head_dim
        self.query_heads = attention.q_proj.base.out_features // self.width
        self.key_heads = attention.k_proj.base.out_features // self.width
        self.into = Fused(attention, ["q_proj", "k_proj", "v_proj"], switch, lay_out=lay_out)
        self.out = Fused(attention, ["o_proj"], switch, lay_out=lay_out)
        self.gate_and_up = Fused(mlp, ["gate_proj", "up_proj"], switch, lay_out=lay_out)
        self.down = Fused(mlp, ["down_proj"], switch, lay_out=lay_out)
        self.products = (self.into, self.out, self.gate_and_up, self.down)
        self.activation = mlp.act_fn
        self.gated = type(mlp.act_fn).__name__ in ("SiLUActivation", "SiLU")

    def __call__(
        self, index: int, x: Tensor, angles: tuple[Tensor, Tensor], attend: Attend
    ) -> Tensor:
        heads = self.into(self.first_norm(x)).unflatten(-1, (-1, self.width))
        rotated, value = heads.split([self.query_heads + self.key_heads, self.key_heads], dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = rotated.split([self.query_heads, self.key_heads], dim=1)
            rotated = torch.cat([self.query_norm(query), self.key_norm(key)], dim=1)
        if self.rotates:
            rotated = rotate(rotated, *angles)
        query, key = rotated.split([self.query_heads, self.key_heads], dim=1)
        x = x + self.out(attend(index, query, key, value))
        wide = self.gate_and_up(self.second_norm(x))
        if self.gated:
            return x + self.down(swiglu(wide))
        gate, up = wide.chunk(2, dim=-1)
        return x + self.down(self.activation(gate) * up)


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    """The norm of a layer: ours for a plain RMS norm, the module itself for any other."""
    if not hasattr(module, "variance_epsilon"):
        return module  # type: ignore[no-any-return]
    return lambda x: rms_norm(x, module.weight, module.variance_epsilon)

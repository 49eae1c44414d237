"""Attention of rows that share a beginning.

    prefix   p p p p            computed once, for all rows
    rows     a a a              see the prefix and themselves
             b b
             c c c c

A row of many tokens gets a copy of the prefix before its own keys, and one softmax. For a few
tokens that copy would be most of the work: there are two score matrices, over the prefix and over
the row's own keys, under one maximum and one sum:

    out = (e_p V_p + e_o V_o) / (Σ e_p + Σ e_o),   e = exp(s − max)

The prefix part is one product for all rows. Query heads of one key head are stacked, so that keys
are not repeated for them. On most CPUs plain products beat PyTorch's fused kernel for these shapes
by a factor of 3 to 8, and more backwards. Where the processor has tiles (AMX) the fused kernel
reads prompts in half the time, so there it does (figures: docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from steelyard.models.gradients import learns

SCORES_AT_ONCE = 2**21  # elements; larger blocks fall out of the processor's cache
QUERIES_AT_ONCE = 128  # of rows twice as long and longer
JOINED_FROM = 16  # tokens of a row from which a copy of the prefix costs less than it saves
# By the processor and not by a measurement, so that answers are the same every time.
TILES: bool = torch.cpu.get_capabilities().get("amx_bf16", False)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    hidden: Tensor | None,
    prefix: tuple[Tensor, Tensor] | None,
    first: int | None = None,
) -> Tensor:
    """What every token of every row reads.

    `hidden` is added to the scores: −∞ where a token must not look. `first` says how many keys of
    its row the first token may see, and every later one sees at most one more than the one before:
    long rows then leave out the keys that none of a block sees.

    Shapes: query [B, T, H, D]; key and value [B, K, S, D]; hidden [B or 1, 1, T, 1, S]; prefix
    key and value [K, P, D] → [B, T, H · D].
    """
    rows, length = query.shape[:2]
    if TILES and length >= JOINED_FROM and query.dtype == torch.bfloat16 and not learns(query):
        return _fused(query, *_joined(key, value, hidden, prefix))
    if first is not None and length >= 2 * QUERIES_AT_ONCE:
        parts = []
        for start in range(0, length, QUERIES_AT_ONCE):
            stop = min(start + QUERIES_AT_ONCE, length)
            end = first + stop - 1
            mask = None if hidden is None else hidden[:, :, start:stop, :, :end]
            k, v = key[:, :, :end], value[:, :, :end]
            parts.append(attend(query[:, start:stop], k, v, hidden=mask, prefix=prefix))
        return torch.cat(parts, dim=1)
    seen = key.shape[2] + (prefix[0].shape[1] if prefix else 0)
    at_once = max(1, SCORES_AT_ONCE // (length * query.shape[2] * seen))
    if rows == 1 and length > 1 and length * query.shape[2] * seen > SCORES_AT_ONCE:
        few = max(1, SCORES_AT_ONCE // (query.shape[2] * seen))
        later = [None] * length if hidden is None else [*hidden.split(few, dim=2)]
        parts = [
            _block(q, key, value, mask, prefix)
            for q, mask in zip(query.split(few, dim=1), later, strict=False)
        ]
        return torch.cat(parts, dim=1)
    if at_once >= rows:
        return _block(query, key, value, hidden, prefix)
    masks = hidden.split(at_once) if hidden is not None and len(hidden) > 1 else None
    blocks = zip(query.split(at_once), key.split(at_once), value.split(at_once), strict=True)
    parts = [
        attend(q, k, v, hidden=masks[i] if masks else hidden, prefix=prefix)
        for i, (q, k, v) in enumerate(blocks)
    ]
    return torch.cat(parts)


def _block(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor | None,
    prefix: tuple[Tensor, Tensor] | None,
) -> Tensor:
    rows, length, heads, width = query.shape
    key_heads = key.shape[1]
    if length >= JOINED_FROM:
        key, value, hidden = _joined(key, value, hidden, prefix)
        prefix = None
    group = heads // key_heads
    scaled = query * width**-0.5
    # [B, T, K, G, D] → [B, K, T · G, D]
    stacked = scaled.unflatten(2, (key_heads, group)).transpose(1, 2).flatten(2, 3)
    own = stacked @ key.transpose(-1, -2)
    if hidden is not None:
        shape = own.shape
        own = (own.view(rows, key_heads, length, group, -1) + hidden).view(shape)
    if prefix is None:
        out = torch.softmax(own, dim=-1) @ value
    else:
        # [B, K, T · G, D] → [K, B · T · G, D]
        flat = stacked.transpose(0, 1).flatten(1, 2)
        shared = flat @ prefix[0].transpose(-1, -2)
        back = (key_heads, rows, length * group, -1)
        shared_top = _top(shared)
        top = torch.maximum(_top(own), shared_top.view(back).transpose(0, 1))
        shared = (shared - top.transpose(0, 1).reshape(key_heads, -1, 1)).exp()
        weights = (own - top).exp()
        read = (shared @ prefix[1]).view(back).transpose(0, 1)
        total = _sum(weights) + _sum(shared).view(back).transpose(0, 1)
        out = (weights @ value + read) / total
    return out.unflatten(2, (length, group)).transpose(1, 2).flatten(2)


def _fused(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None) -> Tensor:
    """PyTorch's own kernel. Shapes as in `attend`, the prefix in the keys and values."""
    out = functional.scaled_dot_product_attention(
        query.transpose(1, 2),
        key,
        value,
        attn_mask=None if hidden is None else hidden[:, :, :, 0],
        enable_gqa=True,
    )
    return out.transpose(1, 2).flatten(2)


def _joined(
    key: Tensor, value: Tensor, hidden: Tensor | None, prefix: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and what is hidden of them, with a copy of the prefix before each row's own."""
    if prefix is None:
        return key, value, hidden
    key, value = (
        torch.cat([shared.expand(len(own), -1, -1, -1), own], dim=2)
        for shared, own in zip(prefix, (key, value), strict=True)
    )
    if hidden is not None:
        hidden = functional.pad(hidden, (prefix[0].shape[1], 0))
    return key, value, hidden


def _top(scores: Tensor) -> Tensor:
    # PyTorch's bfloat16 maximum takes five times as long as a copy in float32 and its maximum.
    return scores.detach().float().amax(-1, keepdim=True).to(scores.dtype)


def _sum(weights: Tensor) -> Tensor:
    return weights.sum(-1, keepdim=True, dtype=torch.float32).to(weights.dtype)


class Packing:
    """Where the tokens of ragged rows stand, packed [N] and padded [B, T]."""

    def __init__(self, lengths: list[int], device: torch.device | str = "cpu") -> None:
        self.lengths = lengths
        self.rows, self.longest = len(lengths), max(lengths)
        self.even = min(lengths) == self.longest
        sizes = torch.tensor(lengths)
        self.row = torch.repeat_interleave(torch.arange(self.rows), sizes).to(device)
        starts = sizes.cumsum(0) - sizes
        self.place = torch.arange(int(sizes.sum())).to(device) - starts.to(device)[self.row]
        self.flat = self.row * self.longest + self.place
        self.last = (starts + sizes - 1).to(device)  # the last token of each row, packed

    def pad(self, packed: Tensor) -> Tensor:
        """[N, …] → [B, T, …], zeros where there is no token."""
        if not self.even:
            packed = _Pad.apply(packed, self.flat, self.rows * self.longest)
        return packed.unflatten(0, (self.rows, self.longest))

    def unpad(self, padded: Tensor) -> Tensor:
        """[B, T, …] → [N, …]."""
        flat = padded.flatten(0, 1)
        if self.even:
            return flat
        return take(flat, self.flat)


def take(tensor: Tensor, places: Tensor) -> Tensor:
    """Some rows of a tensor, none twice. Shapes: [N, …], [M] → [M, …]."""
    taken: Tensor = _Take.apply(tensor, places)
    return taken


class _Pad(torch.autograd.Function):
    """Autograd's own way back of a scatter is a slow, general one."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, flat: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(flat)
        return packed.new_zeros(size, *packed.shape[1:]).index_copy_(0, flat, packed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, ctx.saved_tensors[0]), None, None


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, padded: Tensor, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        ctx.size = len(padded)
        return padded.index_select(0, flat)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        zeros = gradient.new_zeros(ctx.size, *gradient.shape[1:])
        return zeros.index_copy_(0, ctx.saved_tensors[0], gradient), None


def causal(length: int, like: Tensor) -> Tensor | None:
    """Hides what comes later. Shapes: [1, 1, T, 1, T]."""
    if length == 1:
        return None
    later = torch.ones(length, length, dtype=torch.bool, device=like.device).triu(1)
    hidden = torch.zeros(length, length, dtype=like.dtype, device=like.device)
    return hidden.masked_fill_(later, float("-inf"))[None, None, :, None, :]


class WholeRows:
    """The `Attend` of one pass over whole rows, with nothing kept from before.

    The first `shared` packed tokens are a beginning of all rows; the rows follow it. With `fused`
    rows that share nothing go through PyTorch's fused kernel, which on a GPU holds no scores.
    """

    def __init__(
        self, shared: int, packing: Packing | None, like: Tensor, *, fused: bool | None = None
    ) -> None:
        self.shared = shared
        self.fused = (like.is_cuda if fused is None else fused) and not shared
        self.packing = packing
        self.first = causal(shared, like) if shared else None
        plain = packing is not None and not self.fused
        self.hidden = causal(packing.longest, like) if packing and plain else None

    def __call__(self, _layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = []
        prefix = None
        if self.shared:
            sizes = [self.shared, len(query) - self.shared]
            (q, query), (k, key), (v, value) = (t.split(sizes) for t in (query, key, value))
            prefix = k.transpose(0, 1), v.transpose(0, 1)
            k, v = prefix
            out = attend(q[None], k[None], v[None], hidden=self.first, prefix=None, first=1)
            parts.append(out[0])
        if self.packing is not None:
            q, k, v = (self.packing.pad(t) for t in (query, key, value))
            k, v = k.transpose(1, 2), v.transpose(1, 2)
            if self.fused:  # padding is on the right: no real token looks at it
                out = functional.scaled_dot_product_attention(
                    q.transpose(1, 2), k, v, is_causal=True, enable_gqa=True
                )
                out = out.transpose(1, 2).flatten(2)
            else:
                out = attend(q, k, v, hidden=self.hidden, prefix=prefix, first=1)
            parts.append(self.packing.unpad(out))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

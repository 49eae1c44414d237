"""Attention for training on a CPU: two batched products and a softmax.

Backwards, the fused kernel that PyTorch picks on CPUs takes 1.7 to 4.6 times as long as this for
the lengths met here (figures: docs/log/2026-11-21-first-figures.md), and it wants keys and values
repeated for every query head. Here the query heads of one key head are stacked instead:

    queries [B, H, T, D] → [B, K, (H/K)·T, D]      keys, values [B, K, S, D]

with K key heads. Softmax is taken in float32. Scores are held whole, which long prompts would
feel: for answering, and on a GPU, the model keeps its own attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

NAME = "steelyard_grouped"


def grouped_attention(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_kwargs: object,
) -> tuple[Tensor, None]:
    """Shapes: query [B, H, T, D], key and value [B, K, S, D], mask [B, 1, T, S], boolean (True is
    seen) or added to the scores; returns [B, T, H, D]."""
    batch, heads, length, width = query.shape
    key_heads, seen = key.shape[1], key.shape[2]
    stacked = query.reshape(batch, key_heads, heads // key_heads * length, width)
    scores = stacked @ key.transpose(-1, -2) * (width**-0.5 if scaling is None else scaling)
    scores = scores.view(batch, key_heads, heads // key_heads, length, seen)
    assert attention_mask is not None or length == 1, "the mask interface always makes a mask"
    if attention_mask is not None:
        mask = attention_mask[:, :, None, :, :seen]
        if mask.dtype == torch.bool:
            # Not −∞: a padded row sees nothing, and must come out as numbers all the same.
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    out = weights.view(batch, key_heads, heads // key_heads * length, seen) @ value
    return out.view(batch, heads, length, width).transpose(1, 2), None


def use_grouped_attention(model: Any) -> None:
    """Switch a model on the CPU that lets its attention be chosen; another one keeps its own.

    So does one that PyTorch's plain attention would not serve: it caps its scores, say.
    """
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    plain = model.config._attn_implementation == "sdpa" and model.device.type == "cpu"
    if plain and getattr(model, "_supports_attention_backend", False):
        model.set_attn_implementation(NAME)

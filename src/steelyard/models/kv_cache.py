"""Keys and values in one growing buffer per layer.

transformers' own dynamic cache copies the whole past at every step; here a step writes one
column. A shared prompt prefix is computed once, at batch 1, and copied into every row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from steelyard.errors import ModelError


class BufferedLayer(DynamicLayer):
    """One layer's keys and values; `keys` and `values` are views of the filled part.

    Shapes: buffers [B, H, capacity, D].
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.key_buffer = self.value_buffer = torch.empty(0)

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        filled, new = self.get_seq_length(), key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            batch, heads, _, width = key_states.shape
            shape = (batch, heads, max(self.capacity, new), width)
            self.key_buffer = key_states.new_empty(shape)
            self.value_buffer = value_states.new_empty(shape)
        end = filled + new
        self.key_buffer[:, :, filled:end] = key_states
        self.value_buffer[:, :, filled:end] = value_states
        self.keys, self.values = self.key_buffer[:, :, :end], self.value_buffer[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        filled = self.get_seq_length()
        self.key_buffer = self.key_buffer[indices]
        self.value_buffer = self.value_buffer[indices]
        self.keys, self.values = self.key_buffer[:, :, :filled], self.value_buffer[:, :, :filled]


def context_tokens(config: Any) -> int:
    """The longest sequence that these buffers hold exactly: every layer still sees all of it.

    Raises:
        ModelError: a layer keeps something else than keys and values.
    """
    longest = int(config.max_position_embeddings)
    for layer in DynamicCache(config=config).layers:
        if isinstance(layer, DynamicSlidingWindowLayer):
            longest = min(longest, layer.sliding_window)
        elif type(layer) is not DynamicLayer:
            raise ModelError(
                f"the model has a {type(layer).__name__}, which cannot be run here; expected a "
                "model of attention layers, such as Llama, Qwen or SmolLM"
            )
    return longest


def empty(num_layers: int, capacity: int) -> Cache:
    """A cache for a batch whose sequences stay within `capacity` tokens."""
    return Cache(layers=[BufferedLayer(capacity) for _ in range(num_layers)])


def spread(prefix: Cache, batch: int, capacity: int) -> Cache:
    """A cache for `batch` rows that all begin with the one row of `prefix`."""
    layers = []
    for source in prefix.layers:
        layer = BufferedLayer(capacity)
        shape = (batch, -1, -1, -1)
        layer.update(source.keys.expand(shape), source.values.expand(shape))
        layers.append(layer)
    return Cache(layers=layers)

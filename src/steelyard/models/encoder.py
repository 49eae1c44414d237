"""One pass of a BERT-like encoder over packed tokens, for embedding.

The tokens of all rows stand one after the other, [N], the shortest row first, without padding;
rows of one length are attended together, as a view of the packed tensor:

    a b | c d | e f g      →      attention over [a b, c d], then over [e f g]

What comes between the products (sums, norms) stays in float32 while the products are in
bfloat16. A model that does not fit (`opened`) is run by transformers, padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from steelyard.models.fused import Product

SAME = {torch.float32: 1e-3, torch.bfloat16: 0.05}  # largest relative difference of a token's state


class Encoder(Protocol):
    """Turns token ids into hidden states."""

    @property
    def width(self) -> int: ...

    def states(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The last hidden state of every token, in float32.

        Shapes: rows of T₁ ≤ T₂ ≤ … ids → [T₁ + T₂ + …, D].
        """
        ...


class PackedBert:
    """The layers of a `BertModel`, over its own weights."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        table = model.embeddings
        self.device: torch.device = table.word_embeddings.weight.device
        self.width: int = model.config.hidden_size
        self.words = table.word_embeddings.weight.detach()
        # No row has a second segment.
        first = table.token_type_embeddings.weight[0] + table.position_embeddings.weight
        self.places = first.detach()
        self.norm = table.LayerNorm
        lay_out = (
            dtype == torch.bfloat16
            and self.device.type == "cpu"
            and torch.backends.mkldnn.is_available()
        )
        self.layers = [
            _Layer(layer, model.config.num_attention_heads, dtype, lay_out)
            for layer in model.encoder.layer
        ]

    def states(self, rows: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(row) for row in rows]
        ids = torch.tensor([id for row in rows for id in row], device=self.device)
        places = torch.cat([torch.arange(n, device=self.device) for n in lengths])
        runs = [(length, len(list(group))) for length, group in groupby(lengths)]
        x = self.norm(self.words[ids] + self.places[places])
        for layer in self.layers:
            x = layer(x, runs)
        return x


class _Layer:
    def __init__(self, layer: Any, heads: int, dtype: torch.dtype, lay_out: bool) -> None:
        attention, inner = layer.attention, layer.attention.self
        self.heads, self.dtype = heads, dtype
        parts = (inner.query, inner.key, inner.value)
        weight = torch.cat([part.weight for part in parts])
        self.into = _product(weight, torch.cat([part.bias for part in parts]), dtype, lay_out)
        self.out = _product(
            attention.output.dense.weight, attention.output.dense.bias, dtype, lay_out
        )
        up, down = layer.intermediate.dense, layer.output.dense
        self.up = _product(up.weight, up.bias, dtype, lay_out, activation="gelu")
        self.down = _product(down.weight, down.bias, dtype, lay_out)
        self.first_norm, self.second_norm = attention.output.LayerNorm, layer.output.LayerNorm

    def __call__(self, x: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
        mixed = self._attend(self.into(x.to(self.dtype)), runs)
        x = self.first_norm(x + self.out(mixed))
        wide: Tensor = self.second_norm(x + self.down(self.up(x.to(self.dtype))))
        return wide

    def _attend(self, heads: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
        """Shapes: [N, 3 · D] → [N, D]; a run is a length and how many rows have it."""
        pieces = []
        sizes = [length * rows for length, rows in runs]
        for (length, rows), piece in zip(runs, heads.split(sizes), strict=True):
            apart = piece.view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(*apart.unbind())
            pieces.append(mixed.transpose(1, 2).reshape(rows * length, -1))
        return torch.cat(pieces)


def _product(
    weight: Tensor, bias: Tensor, dtype: torch.dtype, lay_out: bool, activation: str = "none"
) -> Product:
    weight, bias = weight.detach().to(dtype), bias.detach().to(dtype)
    return Product(weight, bias, lay_out=lay_out, activation=activation)


class Padded:
    """Any encoder that transformers knows, in its own way."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.width: int = model.config.hidden_size

    def states(self, rows: Sequence[Sequence[int]]) -> Tensor:
        longest = max(len(row) for row in rows)
        pad = getattr(self.model.config, "pad_token_id", None) or 0
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(longest) < lengths[:, None]
        device = self.model.device
        found = self.model(input_ids=ids.to(device), attention_mask=mask.long().to(device))
        states: Tensor = found.last_hidden_state[mask.to(device)].float()
        return states


def opened(model: Any, dtype: torch.dtype) -> Encoder:
    """Our own pass where it says what transformers does, else theirs. The model is in float32."""
    ids = torch.linspace(0, model.config.vocab_size - 1, 14).long()[1:-1].tolist()
    rows = [ids[:5], ids[5:]]
    with torch.inference_mode():
        plain = Padded(model)
        try:
            packed = PackedBert(model, dtype)
            found, expected = packed.states(rows), plain.states(rows)
        except (AttributeError, RuntimeError, TypeError, IndexError):
            return plain
        difference = ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max()
    return packed if bool(difference < SAME[dtype]) else plain


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Rows by number, the shortest first, in batches of at most so many tokens, or of one row.

    >>> batches([3, 9, 2, 4], tokens=6)
    [[2, 0], [3], [1]]
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    found: list[list[int]] = []
    held = 0
    for row in order:
        held += lengths[row]
        if not found or held > tokens:
            found.append([])
            held = lengths[row]
        found[-1].append(row)
    return found


def split_rows(states: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """The states of each row. Shapes: [T₁ + T₂ + …, D] → [T₁, D], [T₂, D], …"""
    ends = list(accumulate(lengths, initial=0))
    return [states[start:end] for start, end in pairwise(ends)]

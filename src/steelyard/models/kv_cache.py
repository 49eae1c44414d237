"""Keys and values that stay: of rows being answered, and of the beginnings they share.

Rows stand in one buffer per layer, the ones being answered always first, so that a step reads a
plain slice. A row that is done is overwritten by the last one. What all prompts begin with stands
once, beside the rows; a longer beginning that only some share is copied into theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from steelyard.models import runtime
from steelyard.models.attention import Packing, attend
from steelyard.models.decoder import Decoder


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of many prompts: its tokens, and keys and values [K, P, D] per layer."""

    ids: tuple[int, ...]
    layers: list[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, length: int) -> Prefix:
        """Its first tokens. What a token's keys and values are depends on none after it."""
        if length == 0:
            return NOTHING
        return Prefix(self.ids[:length], [(k[:, :length], v[:, :length]) for k, v in self.layers])


COLUMNS_AT_ONCE = 32  # growing copies what is there: seldom is cheap. Source: ours
NOTHING = Prefix((), [])


class Prefixes:
    """Beginnings that several systems prepared for, the newest kept within `limit_bytes`."""

    def __init__(self, decoder: Decoder, limit_bytes: int) -> None:
        self.decoder = decoder
        self.limit = limit_bytes
        self._kept: OrderedDict[tuple[str | None, tuple[int, ...]], Prefix] = OrderedDict()

    def get(self, ids: Sequence[int]) -> Prefix:
        """The prefix of these tokens: what a kept one has of it, and the rest computed."""
        adapter, best = self.decoder.switch.active, NOTHING
        for (owner, other), prefix in self._kept.items():
            if owner == adapter and (same := common([tuple(ids), other])) > len(best):
                best = prefix.cut(same)
        found = self._kept[adapter, tuple(ids)] = self.extend(best, ids)
        self._kept.move_to_end((adapter, tuple(ids)))
        size = bytes_per_token(self.decoder)
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) * size > self.limit:
            self._kept.popitem(last=False)
        return found

    def extend(self, known: Prefix, ids: Sequence[int]) -> Prefix:
        """The prefix of `ids`, of which `known` is the beginning."""
        if len(known) == len(ids):
            return known
        new = torch.tensor(ids[len(known) :], device=self.decoder.device)
        rows = Rows(self.decoder, 1)
        positions = len(known) + torch.arange(len(new), device=new.device)
        self.decoder(new, positions, rows.step(0, [len(new)], known))
        fresh = [
            (k[0, :, : len(new)], v[0, :, : len(new)])
            for k, v in zip(rows.keys, rows.values, strict=True)
        ]
        if known.layers:
            fresh = [
                (torch.cat([a, k], dim=1), torch.cat([b, v], dim=1))
                for (a, b), (k, v) in zip(known.layers, fresh, strict=True)
            ]
        return Prefix(tuple(ids), fresh)


class Rows:
    """Keys and values of the rows being answered: [rows, K, capacity, D] per layer.

    `filled` counts the columns of each row. Buffers are zero where nothing was written: what is
    hidden must still be a number. They grow by a few columns at a time and are read whole,
    because a product over a part of them would copy that part first.
    """

    def __init__(self, decoder: Decoder, rows: int) -> None:
        self.like = decoder.head.weight
        self.size = rows
        self.heads, self.width = decoder.layers[0].key_heads, decoder.layers[0].width
        self.keys = [self._buffer(0) for _ in decoder.layers]
        self.values = [self._buffer(0) for _ in decoder.layers]
        self.filled: list[int] = []

    @property
    def capacity(self) -> int:
        """Columns that are there; some may be empty in every row."""
        return int(self.keys[0].shape[2])

    def grow(self, columns: int) -> None:
        """Make room for rows of so many columns."""
        if columns <= self.capacity:
            return
        wide = -(-columns // COLUMNS_AT_ONCE) * COLUMNS_AT_ONCE
        for buffers in (self.keys, self.values):
            for layer, old in enumerate(buffers):
                new = self._buffer(wide)
                new[:, :, : old.shape[2]] = old
                buffers[layer] = new
        runtime.give_back()  # the old ones fit nothing that comes

    def _buffer(self, columns: int) -> Tensor:
        return self.like.new_zeros(self.size, self.heads, columns, self.width)

    def step(
        self, start: int, lengths: list[int], prefix: Prefix, sees: Tensor | None = None
    ) -> Step:
        """The `Attend` that appends `lengths` tokens to the rows from `start` on.

        Rows beyond the last are begun. Each token sees its row up to itself, unless `sees` says
        otherwise: [B, T, S], padded, over the columns up to the last one in use.
        """
        self.filled += [0] * (start + len(lengths) - len(self.filled))
        return Step(self, start, lengths, prefix, sees)

    def copy(self, row: int, prefix: Prefix, start: int) -> None:
        """Begin a row with the tokens of a prefix from `start` on."""
        self.filled[row] = len(prefix) - start
        self.grow(self.filled[row])
        for layer, (key, value) in enumerate(prefix.layers):
            self.keys[layer][row, :, : self.filled[row]] = key[:, start:]
            self.values[layer][row, :, : self.filled[row]] = value[:, start:]

    def drop(self, row: int) -> None:
        """End a row; the last one takes its place."""
        last = len(self.filled) - 1
        if row != last:
            columns = self.filled[last]
            for buffer in (*self.keys, *self.values):
                buffer[row, :, :columns] = buffer[last, :, :columns]
            self.filled[row] = self.filled[last]
        self.filled.pop()


class Step:
    """The `Attend` of one pass over new tokens of the rows from `start` on.

    Where most rows read one token and a few read more, the last tokens of all rows are one even
    block, and the tokens before them another, of those few rows.
    """

    def __init__(
        self, rows: Rows, start: int, lengths: list[int], prefix: Prefix, sees: Tensor | None
    ) -> None:
        device = rows.keys[0].device
        self.rows, self.prefix = rows, prefix
        self.packing = Packing(lengths, device)
        stop = start + len(lengths)
        before = rows.filled[start:stop]
        filled = torch.tensor(before, device=device)
        self.row = start + self.packing.row
        self.column = filled[self.packing.row] + self.packing.place
        self.positions = len(prefix) + self.column
        after = [b + n for b, n in zip(before, lengths, strict=True)]
        rows.filled[start:stop] = after
        rows.grow(max(after))
        everything = slice(start, stop)
        self.blocks: list[_Block] = []
        longer = [i for i, n in enumerate(lengths) if n > 1]
        if sees is None and 0 < len(longer) <= len(lengths) // 2:
            last = torch.tensor(after, device=device) - 1
            self.blocks.append(_Block(everything, Packing([1] * len(lengths), device), last, rows))
            few = torch.tensor(longer, device=device)
            packing = Packing([lengths[i] - 1 for i in longer], device)
            self.blocks.append(_Block(start + few, packing, filled[few], rows))
            is_last = torch.zeros(len(self.row), dtype=torch.bool, device=device)
            is_last[self.packing.last] = True
            self.parts = [self.packing.last, (~is_last).nonzero()[:, 0]]
        else:
            self.blocks.append(_Block(everything, self.packing, filled, rows, sees))
            self.parts = []

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        keys, values = self.rows.keys[layer], self.rows.values[layer]
        keys[self.row, :, self.column] = key
        values[self.row, :, self.column] = value
        prefix = self.prefix.layers[layer] if self.prefix.layers else None
        if not self.parts:
            return self.blocks[0].read(query, keys, values, prefix)
        out = query.new_empty(len(query), query.shape[1] * query.shape[2])
        for part, block in zip(self.parts, self.blocks, strict=True):
            out[part] = block.read(query[part], keys, values, prefix)
        return out


class _Block:
    """Queries of some rows, over all that these rows hold."""

    def __init__(
        self,
        which: slice | Tensor,
        packing: Packing,
        filled: Tensor,
        rows: Rows,
        sees: Tensor | None = None,
    ) -> None:
        self.which = which
        self.packing = packing
        self.first = None if sees is not None else int(filled.max()) + 1
        self.hidden = _hidden(filled, packing.longest, rows.capacity, sees, rows.like.dtype)

    def read(
        self, query: Tensor, keys: Tensor, values: Tensor, prefix: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        padded = self.packing.pad(query)
        keys, values = keys[self.which], values[self.which]
        out = attend(padded, keys, values, hidden=self.hidden, prefix=prefix, first=self.first)
        return self.packing.unpad(out)


def _hidden(
    filled: Tensor, longest: int, end: int, sees: Tensor | None, dtype: torch.dtype
) -> Tensor | None:
    """What the new tokens of each row must not see; None where that is nothing.

    Shapes: filled [B]; sees [B, T, S] → [B, 1, T, 1, S], to be added to the scores.
    """
    columns = torch.arange(end, device=filled.device)
    places = torch.arange(longest, device=filled.device)
    seen = columns <= (filled[:, None] + places)[..., None]
    if sees is not None:
        seen = functional.pad(sees, (0, end - sees.shape[2]))
    if bool(seen.all()):
        return None
    hidden = torch.zeros(seen.shape, dtype=dtype, device=filled.device)
    return hidden.masked_fill_(~seen, float("-inf"))[:, None, :, None, :]


def bytes_per_token(decoder: Decoder) -> int:
    """What the keys and values of one token take: 22.5 KiB for SmolLM2-135M in bfloat16."""
    layer = decoder.layers[0]
    size = decoder.head.weight.element_size()
    return int(2 * len(decoder.layers) * layer.key_heads * layer.width * size)


def common(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with.

    >>> common([(1, 2, 3), (1, 2, 4, 5)])
    2
    """
    low, high = min(map(tuple, rows)), max(map(tuple, rows))
    same = 0
    while same < min(len(low), len(high)) and low[same] == high[same]:
        same += 1
    return same

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import apart, hidden

from steelyard.models import attention, kv_cache
from steelyard.models.kv_cache import NOTHING, Prefix, Prefixes, Rows, bytes_per_token, common
from tiny import open_in_float32, write_adapter

SIZE = 4  # rows in these tests
tokens = st.integers(3, 250)


@pytest.fixture
def decoder(tiny: Any) -> Any:
    tiny.loaded.decoder.switch.active = None
    return tiny.loaded.decoder


def feed(decoder: Any, rows: Rows, start: int, new: list[list[int]], prefix: Prefix) -> Any:
    """Hidden states of new tokens of the rows from `start` on, row by row."""
    step = rows.step(start, [len(row) for row in new], prefix)
    ids = torch.tensor([token for row in new for token in row])
    return decoder(ids, step.positions, step).split([len(row) for row in new])


@settings(max_examples=40)
@given(data=st.data())
def test_rows_that_come_go_and_read_at_their_own_pace_have_the_librarys_states(
    tiny: Any, library: Any, data: st.DataObject
) -> None:
    decoder = tiny.loaded.decoder
    decoder.switch.active = None
    shared = data.draw(st.lists(tokens, max_size=6))
    texts: list[list[int]] = []  # what each row has read, beside the shared beginning
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_cache, "COLUMNS_AT_ONCE", 3)
        patch.setattr(attention, "QUERIES_AT_ONCE", 2)
        prefix = Prefixes(decoder, 10**9).get(shared)
        rows = Rows(decoder, SIZE)
        for _ in range(data.draw(st.integers(1, 6))):
            possible = ["begin"] * (len(texts) < SIZE) + ["step", "drop"] * bool(texts)
            kind = data.draw(st.sampled_from(possible))
            if kind == "drop":
                row = data.draw(st.integers(0, len(texts) - 1))
                rows.drop(row)
                texts[row] = texts[-1]
                texts.pop()
                continue
            start = len(texts) if kind == "begin" else 0
            count = len(texts)
            if kind == "begin":
                count = data.draw(st.integers(1, SIZE - len(texts)))
                texts += [[] for _ in range(count)]
            short = st.lists(tokens, min_size=1, max_size=1)
            longer = short | st.lists(tokens, min_size=1, max_size=5)
            new = [data.draw(longer) for _ in range(count)]
            for text, more in zip(texts[start:], new, strict=True):
                text += more
            found = feed(decoder, rows, start, new, prefix)
            for text, more, states in zip(texts[start:], new, found, strict=True):
                expected = hidden(library, shared + text)[-len(more) :]
                assert apart(states, expected) < 1e-5
            assert rows.filled == [len(text) for text in texts]


def test_few_long_rows_beside_many_short_ones_are_two_even_blocks(decoder: Any) -> None:
    with torch.inference_mode():
        rows = Rows(decoder, SIZE)
        step = rows.step(0, [1, 3, 1, 1], NOTHING)
        assert [block.packing.lengths for block in step.blocks] == [[1, 1, 1, 1], [2]]
        assert [part.tolist() for part in step.parts] == [[0, 3, 4, 5], [1, 2]]
        step = rows.step(0, [2, 3, 1, 1], NOTHING)
        assert [block.packing.lengths for block in step.blocks] == [[1, 1, 1, 1], [1, 2]]
        step = rows.step(0, [2, 3, 2, 1], NOTHING)
        assert [block.packing.lengths for block in step.blocks] == [[2, 3, 2, 1]]


def test_a_row_sees_what_it_is_told_and_no_more(decoder: Any, library: Any) -> None:
    # After 5 6: two paths, 7 8 and 9, that do not see each other.
    with torch.inference_mode():
        rows = Rows(decoder, 1)
        feed(decoder, rows, 0, [[5, 6]], NOTHING)
        sees = torch.tensor([[[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]]).bool()
        step = rows.step(0, [3], NOTHING, sees)
        found = decoder(torch.tensor([7, 8, 9]), torch.tensor([2, 3, 2]), step)
        assert apart(found[:2], hidden(library, [5, 6, 7, 8])[2:]) < 1e-5
        assert apart(found[2], hidden(library, [5, 6, 9])[2]) < 1e-5


def test_buffers_grow_by_a_few_columns_and_hold_what_they_held(decoder: Any) -> None:
    rows = Rows(decoder, 2)
    assert rows.capacity == 0
    rows.grow(1)
    assert rows.capacity == kv_cache.COLUMNS_AT_ONCE
    rows.keys[1].fill_(3)
    before = rows.keys[1]
    rows.grow(kv_cache.COLUMNS_AT_ONCE)
    assert rows.keys[1] is before
    rows.grow(kv_cache.COLUMNS_AT_ONCE + 1)
    assert rows.capacity == 2 * kv_cache.COLUMNS_AT_ONCE
    assert torch.equal(rows.keys[1][:, :, : before.shape[2]], before)
    assert not rows.keys[1][:, :, before.shape[2] :].any()
    assert rows.values[0].shape == (2, 2, rows.capacity, 8)


def test_a_row_that_ends_gives_its_place_to_the_last(decoder: Any) -> None:
    rows = Rows(decoder, 3)
    rows.grow(2)
    rows.filled = [2, 1, 2]
    for row in range(3):
        rows.keys[0][row] = row
    rows.drop(0)
    assert rows.filled == [2, 1]
    assert rows.keys[0][0, 0, 0, 0] == 2
    rows.drop(1)
    assert rows.filled == [2]
    rows.drop(0)
    assert rows.filled == []


def test_a_beginning_is_copied_without_what_stands_beside_the_rows(
    decoder: Any, library: Any
) -> None:
    with torch.inference_mode():
        whole = Prefixes(decoder, 10**9).get([5, 6, 7, 8])
        rows = Rows(decoder, 2)
        rows.filled = [0, 0]
        rows.copy(0, whole, 1)
        rows.copy(1, whole.cut(2), 1)
        assert rows.filled == [3, 1]
        found = feed(decoder, rows, 0, [[9], [9, 10]], whole.cut(1))
        assert apart(found[0], hidden(library, [5, 6, 7, 8, 9])[-1:]) < 1e-5
        assert apart(found[1], hidden(library, [5, 6, 9, 10])[-2:]) < 1e-5


def test_a_prefix_cut_is_the_prefix_of_its_first_tokens(decoder: Any) -> None:
    with torch.inference_mode():
        prefixes = Prefixes(decoder, 10**9)
        cut = prefixes.get([5, 6, 7, 8]).cut(2)
        alone = Prefixes(decoder, 10**9).get([5, 6])
    assert cut.ids == alone.ids == (5, 6)
    assert len(cut) == 2
    for ours, theirs in zip(cut.layers, alone.layers, strict=True):
        assert apart(torch.stack(ours), torch.stack(theirs)) < 1e-5


class Counting:
    """A decoder that counts the tokens it reads."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.read: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoder, name)

    def __call__(self, ids: Any, *rest: Any) -> Any:
        self.read.append(len(ids))
        return self.decoder(ids, *rest)


def test_a_kept_beginning_is_not_read_again(decoder: Any) -> None:
    counting = Counting(decoder)
    with torch.inference_mode():
        prefixes = Prefixes(counting, 10**9)  # type: ignore[arg-type]
        prefixes.get([5, 6, 7])
        prefixes.get([5, 6, 7])
        prefixes.get([5, 6, 7, 8, 9])
        prefixes.get([5, 6, 10])
        prefixes.get([5])
        prefixes.get([])
    assert counting.read == [3, 2, 1]


def test_the_oldest_beginnings_go_where_there_is_no_room(decoder: Any) -> None:
    counting = Counting(decoder)
    with torch.inference_mode():
        prefixes = Prefixes(counting, 7 * bytes_per_token(decoder))  # type: ignore[arg-type]
        for ids in ([5, 6, 7], [15, 16, 17], [5, 6, 7], [25]):  # seven tokens: all stay
            prefixes.get(ids)
        assert counting.read == [3, 3, 1]
        prefixes.get([35])  # an eighth: the one not asked for longest goes
        prefixes.get([5, 6, 7])
        prefixes.get([25])
        assert counting.read == [3, 3, 1, 1]
        prefixes.get([15, 16, 17])
        assert counting.read == [3, 3, 1, 1, 3]
        whole = prefixes.get(list(range(3, 30)))  # larger than all the room: kept alone
        assert len(whole) == 27
        counting.read.clear()
        prefixes.get(list(range(3, 30)))
        assert counting.read == []


def test_a_beginning_belongs_to_the_adapter_it_was_read_with(
    tiny_folder: Path, tmp_path: Path
) -> None:
    backend = open_in_float32(tiny_folder)
    adapted = backend.adapted(write_adapter(tmp_path, open_in_float32(tiny_folder), seed=1))
    decoder = backend.loaded.decoder
    with torch.inference_mode():
        prefixes = Prefixes(decoder, 10**9)
        found = []
        for adapter in (None, adapted.adapter, None, adapted.adapter):
            decoder.switch.active = adapter
            found.append(prefixes.get([5, 6, 7]).layers[1][0])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    assert apart(found[1], found[0]) > 1e-2


def test_the_size_of_a_token_is_that_of_its_keys_and_values(decoder: Any) -> None:
    assert bytes_per_token(decoder) == 2 * 2 * 2 * 8 * 4  # k and v, layers, heads, width, float32


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 1), max_size=4), min_size=1, max_size=4))
def test_what_rows_begin_with_is_the_longest_beginning_of_all(rows: list[list[int]]) -> None:
    same = common(rows)
    assert all(row[:same] == rows[0][:same] for row in rows)
    longer = [row[: same + 1] for row in rows]
    assert min(map(len, rows)) == same or any(row != longer[0] for row in longer)

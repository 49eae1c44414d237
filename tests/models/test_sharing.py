from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import apart

from steelyard.models import sharing
from steelyard.models.kv_cache import NOTHING, Prefixes, Rows, common
from steelyard.models.sharing import Prompts, beginnings

crowds = st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=8), min_size=1, max_size=8)


@pytest.fixture
def worth_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "WORTH_TOKENS", 10)


@pytest.mark.usefixtures("worth_ten")
def test_beginnings_worked_by_hand() -> None:
    five, six = [5] * 10, [6] * 5
    prompts = [
        [1, *five, *six, 7],  # shares 11 with the next two, and 16 with the next
        [1, *five, *six, 8],  # but these 5 more, of two rows, save only 5
        [1, *five, 9],
        [1, 2, 3],  # shares 1 with all
        [4, 4],
    ]
    numbered = [(ids, n) for n, ids in enumerate(prompts)]
    assert list(beginnings(numbered, 0)) == [(0, [11]), (1, [11]), (2, [11])]
    third = ([1, *five, *six, 9], 5)  # three rows: 5 more save 10
    assert list(beginnings([*numbered, third], 0)) == [
        (0, [11, 16]),
        (1, [11, 16]),
        (5, [11, 16]),
        (2, [11]),
    ]
    assert list(beginnings(numbered, 8)) == []  # what is known already is not saved again


@pytest.mark.usefixtures("worth_ten")
def test_equal_prompts_share_all_but_their_last_token() -> None:
    ids = [5] * 12
    assert list(beginnings([(ids, 0), (ids, 1)], 0)) == [(0, [11]), (1, [11])]
    assert list(beginnings([(ids[:11], 0), (ids, 1)], 0)) == [(0, [10]), (1, [10])]
    assert list(beginnings([(ids, 0)], 0)) == []


@settings(max_examples=80)
@given(crowd=crowds, worth=st.integers(1, 6))
def test_what_is_shared_is_shared_by_several_and_leaves_a_token_to_read(
    crowd: list[list[int]], worth: int
) -> None:
    known = min(common(crowd), min(map(len, crowd)) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "WORTH_TOKENS", worth)
        found = list(beginnings([(ids, n) for n, ids in enumerate(crowd)], known))
    numbers = [number for number, _ in found]
    assert len(numbers) == len(set(numbers))
    assert [crowd[n] for n in numbers] == sorted(crowd[n] for n in numbers)
    users: dict[tuple[int, ...], int] = {}
    for number, lengths in found:
        assert lengths == sorted(set(lengths))
        assert known < lengths[0] <= lengths[-1] < len(crowd[number])
        for length in lengths:
            shared = tuple(crowd[number][:length])
            users[shared] = users.get(shared, 0) + 1
    for ids, count in users.items():
        paid = max((len(p) for p in users if p != ids and ids[: len(p)] == p), default=known)
        assert (len(ids) - paid) * (count - 1) >= worth


@settings(max_examples=30)
@given(crowd=crowds, worth=st.sampled_from([1, 3, 1000]), kept=st.lists(st.integers(3, 5)))
def test_rows_begin_with_what_was_read_for_another_and_read_the_rest(
    tiny: Any, crowd: list[list[int]], worth: int, kept: list[int]
) -> None:
    decoder = tiny.loaded.decoder
    decoder.switch.active = None
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "WORTH_TOKENS", worth)
        prefixes = Prefixes(decoder, 10**9)
        prompts = Prompts(prefixes, crowd, prefixes.get(kept))
        rows = Rows(decoder, len(crowd))
        order = list(reversed(range(len(crowd))))
        waiting = prompts.begin(rows, order)
        beside = len(prompts.prefix)
        for row, index in enumerate(order):
            ids, held = crowd[index], beside + rows.filled[row]
            assert waiting[row] == ids[held:] != []
            assert tuple(ids[:beside]) == prompts.prefix.ids
            assert prompts.own(index) == len(ids) - beside
            assert prompts.cached[index] <= held
            expected = prefixes.extend(NOTHING, ids[:held])
            for layer, (key, value) in enumerate(expected.layers[: len(rows.keys)]):
                if held > beside:
                    filled = rows.filled[row]
                    assert apart(rows.keys[layer][row, :, :filled], key[:, beside:]) < 1e-5
                    assert apart(rows.values[layer][row, :, :filled], value[:, beside:]) < 1e-5


@pytest.mark.usefixtures("worth_ten")
def test_every_token_that_another_read_counts_as_cached(tiny: Any) -> None:
    tiny.loaded.decoder.switch.active = None
    five = [5] * 10
    crowd = [[1, 2, *five, 7, 7], [1, 2, *five, 8], [1, 2, *five, 9], [1, 3, 4]]
    with torch.inference_mode():
        prefixes = Prefixes(tiny.loaded.decoder, 10**9)
        prompts = Prompts(prefixes, crowd)
        assert prompts.cached == [0, 1, 1, 1]  # the first one reads what all begin with
        prompts.begin(Rows(tiny.loaded.decoder, 4), [0, 1, 2, 3])
        assert prompts.cached == [0, 12, 12, 1]
        prompts = Prompts(prefixes, crowd, prefixes.get([1, 2, 5]))
        assert prompts.cached == [1, 1, 1, 1]
        assert Prompts(prefixes, crowd[:1], prefixes.get([1, 2, 5])).cached == [3]
        assert Prompts(prefixes, [[1, 2]], prefixes.get([1, 2, 5])).cached == [1]

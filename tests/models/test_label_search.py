from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.models import label_search
from steelyard.models.kv_cache import NOTHING, Prefixes
from steelyard.models.label_search import Branch, LabelSearch, tree
from steelyard.models.sharing import Prompts

END = 9

label_sets = st.lists(
    st.lists(st.integers(3, 6), max_size=4).map(lambda ids: (*ids, END)),
    min_size=1,
    max_size=10,
).map(lambda labels: [list(label) for label in labels])


def written(branches: list[Branch], before: tuple[int, ...] = ()) -> Iterator[tuple[int, Any]]:
    """Every label's number and its tokens along the branches."""
    for branch in branches:
        path = (*before, *branch.tokens)
        for label in branch.labels:
            yield label, list(path)
        yield from written(branch.branches, path)


def test_a_tree_worked_by_hand() -> None:
    #   1 ─┬─ 2 5 ─── END      labels  1 2 5 END
    #      ├─ 3 ─── END                1 3 END
    #      └─ END                      1 END
    #   4 7 END                        4 7 END
    found = tree([[1, 2, 5, END], [1, 3, END], [1, END], [4, 7, END]], [0.0, -1.0, 2.0, -3.0])
    one, four = found
    assert (one.tokens, one.labels, one.offset) == ([1], [], 2.0)
    assert [(b.tokens, b.labels, b.offset) for b in one.branches] == [
        ([2, 5, END], [0], 0.0),
        ([3, END], [1], -1.0),
        ([END], [2], 2.0),
    ]
    assert (four.tokens, four.labels, four.branches, four.offset) == ([4, 7, END], [3], [], -3.0)
    assert four.run == [4, 7]
    assert one.branches[2].run == []
    assert one.run == [1]


def test_what_all_labels_begin_with_is_one_branch() -> None:
    [found] = tree([[1, 2, 3, END], [1, 2, 4, END]], [0.0, 0.0])
    assert found.tokens == [1, 2]
    assert [branch.tokens for branch in found.branches] == [[3, END], [4, END]]


@settings(max_examples=60)
@given(label_sets)
def test_every_label_is_written_once_along_its_branches(labels: list[list[int]]) -> None:
    found = dict(written(tree(labels, [0.0] * len(labels))))
    assert [found[n] for n in range(len(labels))] == labels


class Table:
    """A decoder for `LabelSearch._log_probs`: its states are one-hot numbers of rows of logits."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.table = logits

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.table


def test_log_probabilities_are_the_same_however_many_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    search = LabelSearch(Table(logits), [[1, END]], prune=False)  # type: ignore[arg-type]
    wanted = [[n % 5, (2 * n) % 5][: n % 3] for n in range(7)]
    monkeypatch.setattr(label_search, "LOGITS_AT_ONCE", 2)
    found = search._log_probs(torch.eye(7), wanted)
    expected = torch.log_softmax(logits, dim=-1)
    for row, (values, tokens) in enumerate(zip(found, wanted, strict=True)):
        assert values == pytest.approx([float(expected[row, token]) for token in tokens])


@settings(max_examples=60)
@given(
    labels=label_sets,
    offsets=st.lists(st.floats(-5, 40), min_size=10, max_size=10),
    at_once=st.sampled_from([1, 2, label_search.BRANCHES_AT_ONCE]),
)
def test_the_search_finds_the_best_of_all_however_many_branches_it_takes(
    tiny: Any, labels: list[list[int]], offsets: list[float], at_once: int
) -> None:
    decoder = tiny.loaded.decoder
    decoder.switch.active = None
    offsets = offsets[: len(labels)]
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_search, "BRANCHES_AT_ONCE", at_once)
        prefixes = Prefixes(decoder, 10**9)
        prompts = Prompts(prefixes, [[40, 41, 42], [40, 50], [40, 60, 61, 62, 63]], NOTHING)
        every = LabelSearch(decoder, labels, offsets=offsets, prune=False)
        few = LabelSearch(decoder, labels, offsets=offsets, prune=True)
        indices = [2, 0, 1]
        whole = every.run(prompts, indices)
        found = few.run(prompts, indices)
    assert [search.index for search in found] == indices
    for complete, pruned in zip(whole, found, strict=True):
        assert sorted(complete.scores) == list(range(len(labels)))
        totals = [complete.scores[n] + offsets[n] for n in range(len(labels))]
        assert totals[few.best(pruned)] >= max(totals) - 1e-4
        assert totals[every.best(complete)] == max(totals)
        assert pruned.tokens_run <= complete.tokens_run <= every.most_tokens
        for label, score in pruned.scores.items():
            assert score == pytest.approx(complete.scores[label], abs=1e-4)


def test_of_equal_labels_the_first_is_the_best() -> None:
    search = LabelSearch(Table(torch.eye(2)), [[1, END], [2, END], [3, END]], prune=True)  # type: ignore[arg-type]
    found = label_search.Search(0, scores={2: -1.0, 1: -1.0, 0: -2.0})
    assert search.best(found) == 1

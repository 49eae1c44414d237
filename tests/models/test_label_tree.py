from __future__ import annotations

import math

import pytest
import torch

from steelyard.models.label_tree import PROMPT, LabelTree

END = 9


def test_a_tree_worked_by_hand() -> None:
    #   1 ─┬─ 2 ─── END        labels  1 2 END
    #      ├─ 3 ─── END                1 3 END
    #      └─ END                      1 END
    #   4 ─── END                      4 END
    tree = LabelTree.of([[1, 2, END], [1, 3, END], [1, END], [4, END]])
    assert tree.tokens == [1, 2, 3, 4]
    assert tree.depths == [0, 1, 1, 0]
    assert tree.sees.int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    assert tree.edges == [
        (PROMPT, 1),
        (0, 2),
        (1, END),
        (0, 3),
        (2, END),
        (0, END),
        (PROMPT, 4),
        (3, END),
    ]
    assert tree.paths == [[0, 1, 2], [0, 3, 4], [0, 5], [6, 7]]


def test_the_score_of_a_path_is_the_sum_over_its_edges() -> None:
    # Two tokens, 0 and END = 1; a state's one number x gives them the logits 0 and x.
    tree = LabelTree.of([[0, 1], [1], [0, 0, 1]])
    hidden = torch.tensor([[0.0], [2.0], [-1.0]])  # after the prompt, after 0, after 0 0

    def head(states: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(states), states], dim=-1)

    def ended(x: float) -> float:
        return math.log(math.exp(x) / (1 + math.exp(x)))

    half, on = math.log(0.5), ended(-2.0)
    expected = [half + ended(2.0), half, half + on + ended(-1.0)]
    assert tree.score(hidden, head) == pytest.approx(expected, abs=1e-6)
    assert tree.edges == [(PROMPT, 0), (0, 1), (PROMPT, 1), (0, 0), (1, 1)]


def test_the_same_label_twice_has_the_same_path() -> None:
    tree = LabelTree.of([[1, END], [1, END]])
    assert tree.tokens == [1]
    assert tree.paths == [[0, 1], [0, 1]]


def test_an_empty_label_is_the_end_token_alone() -> None:
    tree = LabelTree.of([[END], [1, END]])
    assert (tree.tokens, tree.paths) == ([1], [[0], [1, 2]])


def test_more_nodes_than_are_held_at_once_score_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [[a, b, END] for a in range(4) for b in range(4)]
    tree = LabelTree.of(labels)
    chance = torch.Generator().manual_seed(1)
    hidden = torch.randn(1 + len(tree.tokens), 8, generator=chance)
    head = torch.nn.Linear(8, 10)
    whole = tree.score(hidden, head)
    monkeypatch.setattr("steelyard.models.label_tree.NODES_AT_ONCE", 3)
    assert tree.score(hidden, head) == pytest.approx(whole, abs=1e-6)

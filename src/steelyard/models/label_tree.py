"""Labels as a tree of tokens, so that what they share is computed once.

    card_arrival      ─ card ─┬─ _arrival ─ END
    card_linking              └─ _linking ─ END

Every label ends with the end token, so that "card" and "card_arrival" are different answers and
longer labels are not favoured for being unfinished. The score of a label is the sum of the
log-probabilities along its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PROMPT = -1  # the node before the first token
NODES_AT_ONCE = 512  # rows of [nodes, V] logits held at once: 100 MB for SmolLM2


@dataclass(frozen=True, slots=True)
class LabelTree:
    """The inner nodes of the tree in one flat list, parents before children.

    `tokens` and `depths` are per node; `sees[i, j]` says that node j is i or above it. `edges`
    are the distinct (node before, token) pairs and `paths` the edges of each label. The last
    token of a label is an edge without a node: nothing follows it.
    """

    tokens: list[int]
    depths: list[int]
    sees: Tensor
    edges: list[tuple[int, int]]
    paths: list[list[int]]

    @classmethod
    def of(cls, labels: Sequence[Sequence[int]]) -> LabelTree:
        """Build from the token ids of each label, its end token included."""
        edges: dict[tuple[int, int], int] = {}
        node_after: dict[int, int] = {}
        tokens: list[int] = []
        depths: list[int] = []
        parents: list[int] = []
        paths: list[list[int]] = []
        for label in labels:
            node, path = PROMPT, []
            for depth, token in enumerate(label):
                edge = edges.setdefault((node, token), len(edges))
                path.append(edge)
                if depth == len(label) - 1:
                    break
                if edge not in node_after:
                    node_after[edge] = len(tokens)
                    parents.append(node)
                    tokens.append(token)
                    depths.append(depth)
                node = node_after[edge]
            paths.append(path)
        sees = torch.eye(len(tokens), dtype=torch.bool)
        for node, parent in enumerate(parents):
            if parent != PROMPT:
                sees[node] |= sees[parent]
        return cls(tokens, depths, sees, list(edges), paths)

    def score(self, hidden: Tensor, head: torch.nn.Module) -> list[float]:
        """Log-probability of each label.

        Shapes: `hidden` [1 + nodes, D]: the last hidden state after the prompt, then after each
        node; `head` maps D to the vocabulary.
        """
        by_node: dict[int, list[int]] = {}
        for edge, (node, _) in enumerate(self.edges):
            by_node.setdefault(node, []).append(edge)
        values = [0.0] * len(self.edges)
        nodes = sorted(by_node)
        for start in range(0, len(nodes), NODES_AT_ONCE):
            part = nodes[start : start + NODES_AT_ONCE]
            log_probs = torch.log_softmax(head(hidden[[n + 1 for n in part]]).float(), dim=-1)
            for row, node in enumerate(part):
                found = log_probs[row, [self.edges[edge][1] for edge in by_node[node]]]
                for edge, value in zip(by_node[node], found.tolist(), strict=True):
                    values[edge] = value
        return [sum(values[edge] for edge in path) for path in self.paths]

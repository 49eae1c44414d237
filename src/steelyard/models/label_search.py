"""The likeliest label, without scoring all of them.

Labels are a tree of tokens in which chains without a choice are one branch:

    card ─┬─ _arrival END
          └─ _linking END
    top_up_limit END

A label's score is the sum of the log-probabilities of its tokens, end token included, so that
"card" and "card_arrival" are different answers and longer labels are not favoured for being
unfinished. No score is above the one of its beginning: branches are followed best first, and a
branch that begins below the best whole label is never run (branch and bound; Land & Doig 1960).
All branches of a row stand in its one row of keys and values; each token sees the prompt and its
own path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from steelyard.models.decoder import Decoder
from steelyard.models.kv_cache import Rows
from steelyard.models.sharing import Prompts

BRANCHES_AT_ONCE = 8  # of one row, once a whole label is known. Source: ours
LOGITS_AT_ONCE = 64  # rows of [tokens, V] held at once: 12 MB for SmolLM2, which stay in the cache


@dataclass(eq=False, slots=True)
class Branch:
    """Tokens without a choice between them, then a label's end or further branches.

    Labels of the same tokens end together.

    `offset` is the largest of the labels below: what their scores are moved by (a prior).
    """

    tokens: list[int]
    labels: list[int] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    offset: float = 0.0

    @property
    def run(self) -> list[int]:
        """The tokens that the model must read: nothing follows the end token."""
        return self.tokens[:-1] if self.labels else self.tokens


@dataclass(slots=True)
class _Open:
    """A branch run up to `at`: the score with the token there, and where its path stands."""

    branch: Branch
    score: float
    path: list[int]
    at: int = 0

    @property
    def bound(self) -> float:
        return self.score + self.branch.offset


@dataclass(slots=True)
class Search:
    """One prompt's search. `scores` holds the labels that were scored to their end."""

    index: int
    open: list[_Open] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    best: float = float("-inf")  # offset included
    prompt: int = 0  # own columns of the prompt
    tokens_run: int = 0


def tree(labels: Sequence[Sequence[int]], offsets: Sequence[float]) -> list[Branch]:
    """The branches of labels, each its token ids with the end token last."""

    def grow(numbers: list[int], depth: int) -> list[Branch]:
        groups: dict[int, list[int]] = {}
        for number in numbers:
            groups.setdefault(labels[number][depth], []).append(number)
        return [chain(group, depth) for group in groups.values()]

    def chain(group: list[int], depth: int) -> Branch:
        offset = max(offsets[number] for number in group)
        if len({tuple(labels[number]) for number in group}) == 1:
            return Branch(list(labels[group[0]][depth:]), group, offset=offset)
        end = depth + 1
        while len({labels[number][end] for number in group}) == 1:
            end += 1
        tokens = list(labels[group[0]][depth:end])
        return Branch(tokens, branches=grow(group, end), offset=offset)

    return grow(list(range(len(labels))), 0)


def _all(branches: Sequence[Branch]) -> Iterator[Branch]:
    for branch in branches:
        yield branch
        yield from _all(branch.branches)


class LabelSearch:
    """Labels after the prompts of one call. Without `prune` every label is scored."""

    def __init__(
        self,
        decoder: Decoder,
        labels: Sequence[Sequence[int]],
        *,
        offsets: Sequence[float] | None = None,
        prune: bool,
    ) -> None:
        self.decoder = decoder
        self.offsets = list(offsets or [0.0] * len(labels))
        self.roots = tree(labels, self.offsets)
        self.prune = prune
        self.longest = max(map(len, labels))
        self.most_tokens = sum(len(b.run) for b in _all(self.roots))  # a row never runs more

    def run(self, prompts: Prompts, indices: Sequence[int]) -> list[Search]:
        """Search after each of these prompts, together."""
        rows = Rows(self.decoder, len(indices))
        waiting = prompts.begin(rows, indices)
        step = rows.step(0, [len(own) for own in waiting], prompts.prefix)
        ids = torch.tensor([t for own in waiting for t in own], device=self.decoder.device)
        hidden = self.decoder(ids, step.positions, step)[step.packing.last]
        found = [Search(index) for index in indices]
        firsts = [[branch.tokens[0] for branch in self.roots]] * len(found)
        for search, scores in zip(found, self._log_probs(hidden, firsts), strict=True):
            search.prompt = prompts.own(search.index)
            self._add(search, self.roots, 0.0, scores, [])
        active = [(search, self._take(search)) for search in found]
        while True:
            for row in reversed(range(len(active))):
                if not active[row][1]:
                    rows.drop(row)
                    active[row] = active[-1]
                    active.pop()
            if not active:
                return found
            self._follow(rows, active, prompts)
            active = [(search, self._take(search)) for search, _ in active]

    def _take(self, search: Search) -> list[_Open]:
        """The branches to run next: all, or the best of those that may still win."""
        ahead = search.open
        if self.prune:
            ahead = [item for item in ahead if item.bound >= search.best]
            ahead.sort(key=lambda item: -item.bound)
        count = BRANCHES_AT_ONCE if search.scores else 1
        chosen = ahead[:count] if self.prune else ahead
        search.open = ahead[len(chosen) :]
        return chosen

    def _follow(
        self, rows: Rows, active: list[tuple[Search, list[_Open]]], prompts: Prompts
    ) -> None:
        """Run the chosen branches of every active row in one pass."""
        ends = [
            [self._end(item, dives=place == 0) for place, item in enumerate(turn)]
            for _, turn in active
        ]
        lengths = [
            sum(end - item.at for item, end in zip(turn, stops, strict=True))
            for (_, turn), stops in zip(active, ends, strict=True)
        ]
        before = list(rows.filled)
        last = max(b + n for b, n in zip(before, lengths, strict=True))
        sees = torch.zeros(len(active), max(lengths), last, dtype=torch.bool)
        ids: list[int] = []
        positions: list[int] = []
        wanted: list[list[int]] = []
        for row, ((search, turn), stops) in enumerate(zip(active, ends, strict=True)):
            column = before[row]
            sees[row, :, : search.prompt] = True
            for item, end in zip(turn, stops, strict=True):
                item.path = list(item.path)
                for at in range(item.at, end):
                    item.path.append(column)
                    sees[row, column - before[row], item.path] = True
                    ids.append(item.branch.tokens[at])
                    positions.append(len(prompts.prefix) + search.prompt + len(item.path) - 1)
                    following = item.branch.tokens[at + 1 : at + 2]
                    wanted.append(following or [b.tokens[0] for b in item.branch.branches])
                    column += 1
        device = self.decoder.device
        step = rows.step(0, lengths, prompts.prefix, sees.to(device))
        hidden = self.decoder(
            torch.tensor(ids, device=device), torch.tensor(positions, device=device), step
        )
        found = iter(self._log_probs(hidden, wanted))
        for (search, turn), stops in zip(active, ends, strict=True):
            for item, end in zip(turn, stops, strict=True):
                values = [next(found) for _ in range(item.at, end)]
                search.tokens_run += len(values)
                item.at = end
                whole = end == len(item.branch.tokens)  # the last token of a label is not run
                item.score += sum(value[0] for value in (values[:-1] if whole else values))
                if whole:
                    self._add(search, item.branch.branches, item.score, values[-1], item.path)
                elif end == len(item.branch.run):
                    self._finish(search, item.branch, item.score)
                else:
                    search.open.append(item)

    def _end(self, item: _Open, *, dives: bool) -> int:
        """Up to where to run a branch: its end where it may win, one token where it may fall."""
        return len(item.branch.run) if dives or not self.prune else item.at + 1

    def _add(
        self,
        search: Search,
        branches: Sequence[Branch],
        score: float,
        firsts: Sequence[float],
        path: list[int],
    ) -> None:
        """Open the branches after a path; one that is nothing but the end is done at once."""
        for branch, first in zip(branches, firsts, strict=True):
            if branch.run:
                search.open.append(_Open(branch, score + first, path))
            else:
                self._finish(search, branch, score + first)

    def _finish(self, search: Search, branch: Branch, score: float) -> None:
        search.scores |= dict.fromkeys(branch.labels, score)
        search.best = max(search.best, score + branch.offset)

    def best(self, search: Search) -> int:
        """The label that won, the first of equals."""
        return min(search.scores, key=lambda n: (-search.scores[n] - self.offsets[n], n))

    def _log_probs(self, hidden: Tensor, wanted: Sequence[list[int]]) -> list[list[float]]:
        """Log-probabilities of some tokens after each state. Shapes: hidden [N, width]."""
        found: list[list[float]] = []
        for start in range(0, len(hidden), LOGITS_AT_ONCE):
            logits = self.decoder.logits(hidden[start : start + LOGITS_AT_ONCE])
            log_probs = torch.log_softmax(logits, dim=-1)
            found += [log_probs[row, wanted[start + row]].tolist() for row in range(len(logits))]
        return found

"""What the prompts of one call have in common, computed once.

    all      <system> Classify the message …
    some       message: card lost, label: …        message: top up, label: …
    own          a b        c d e                    f        g h

What all begin with is one `Prefix`, read by every row where it stands; a short one is copied into
the rows, since one softmax is less work than two. What only some begin with is computed once too
and copied into their rows, where that saves more than the pass costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from steelyard.models.kv_cache import NOTHING, Prefix, Prefixes, Rows, common

JOINED_TOKENS = 160  # a shorter beginning costs less read by every row than apart. Source: ours
WORTH_TOKENS = 128  # a pass over one row costs about as much as these in a batch. Source: ours


class Prompts:
    """Token ids of one call's prompts, the same for as long as the call runs.

    `known` is what all begin with, but for at least one token of each; `prefix` is the same, or
    nothing where rows have a copy of it, as a lone one always has. `kept` is what the caller
    prepared for: `cached[i]` counts the tokens of prompt i that stood there or that another prompt
    of the call had computed. `numbers` are those by which the caller knows the prompts.
    """

    def __init__(
        self,
        prefixes: Prefixes,
        ids: list[list[int]],
        kept: Prefix = NOTHING,
        numbers: Sequence[int] = (),
    ) -> None:
        self.ids = ids
        self.numbers = numbers or range(len(ids))
        self.prefixes = prefixes
        known = kept.cut(common([ids[0], kept.ids]))
        same = common(ids) if len(ids) > 1 else len(known)
        shared = min(same, min(map(len, ids)) - 1)
        known = known.cut(min(len(known), shared))
        self.known = prefixes.extend(known, ids[0][:shared])
        self.prefix = self.known if len(ids) > 1 and shared > JOINED_TOKENS else NOTHING
        self.cached = [shared] * len(ids)
        self.cached[0] = len(known)

    def own(self, index: int) -> int:
        """How many tokens of a prompt are beyond the prefix."""
        return len(self.ids[index]) - len(self.prefix)

    def begin(self, rows: Rows, indices: Sequence[int]) -> list[list[int]]:
        """Begin a row for each prompt, in order, and return the tokens it has still to read."""
        start = len(rows.filled)
        rows.filled += [0] * len(indices)
        place = {index: start + i for i, index in enumerate(indices)}
        known = [self.known]
        if self.known is not self.prefix:
            for row in place.values():
                rows.copy(row, self.known, 0)
        for index, lengths in beginnings([(self.ids[i], i) for i in indices], len(self.known)):
            ids = self.ids[index]
            while tuple(ids[: len(known[-1])]) != known[-1].ids or len(known[-1]) > lengths[-1]:
                known.pop()
            if len(known) > 1:
                self.cached[index] = len(known[-1])
            for length in lengths:
                if length > len(known[-1]):
                    known.append(self.prefixes.extend(known[-1], ids[:length]))
            rows.copy(place[index], known[-1], len(self.prefix))
        return [self.ids[i][len(self.prefix) + rows.filled[place[i]] :] for i in indices]


def beginnings(
    prompts: Sequence[tuple[list[int], int]], known: int
) -> Iterator[tuple[int, list[int]]]:
    """Prompts that begin as others do beyond `known` tokens, and after how many they part.

    Prompts are (token ids, number); those that share nothing worth a pass of its own are left
    out. They come in the order of their tokens, so that what is shared comes together.

    >>> long = [7] * 200
    >>> list(beginnings([([1, *long, 3], 0), ([2, 5], 1), ([1, *long, 4, 6], 2)], 0))
    [(0, [201]), (2, [201])]
    """
    found: dict[int, list[int]] = {}

    def split(part: Sequence[tuple[list[int], int]], depth: int, paid: int) -> None:
        """Prompts, in order, that agree on `depth` tokens, of which `paid` are computed."""
        for _, same in groupby(part, key=lambda prompt: prompt[0][depth : depth + 1]):
            group = list(same)
            ids = [tokens for tokens, _ in group]
            shared = min(common(ids), min(map(len, ids)) - 1)
            if len(group) == 1 or shared <= depth:
                continue
            worth = (shared - paid) * (len(group) - 1) >= WORTH_TOKENS
            if worth:
                for _, number in group:
                    found.setdefault(number, []).append(shared)
            split(group, shared, shared if worth else paid)

    split(sorted(prompts), known, known)
    for _, number in sorted(prompts):
        if number in found:
            yield number, found[number]

"""Guessing what comes next, so that one pass of the model yields several tokens.

    prompt   … mail: jer . rivers @ example . org, phone …
    known    {"email": "ann . lee @ example . org", "phone": "+ 44 …        an answer to another
    written  {"email": "jer . rivers             → the guess   @ example . org
    written  {"email": … org                     → the guess   ", "phone": "+ 44

A guess is read together with the token before it, and as much of it is kept as the model would
have written itself: the answer is the same but for rounding, in fewer passes. Extraction copies
much from its prompt, and answers of one task are phrased alike.

Sources: prompt lookup, Saxena 2023; guesses from a store of texts, He et al. 2023,
arXiv:2311.08252; the checking is speculative decoding, Leviathan et al. 2023, arXiv:2211.17192,
greedy. When which of the two is believed is ours: docs/log/2026-11-27-guesses.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

PAIR, LONGEST = 2, 4  # tokens that must have stood together in a row, and that are looked for
LOOKED_AT = 16  # places at most where a pair stood, the last ones
MOST_GUESSED = 8  # where a pass costs the same for one token as for many: few rows
MOST_GUESSED_AMONG_MANY = 3
FEW_ROWS = 8
PROBABLE, SURE = 0.5, 0.9  # shares of the times that a token came next
# Source of all: ours, docs/performance.md and the log above.


class Phrases:
    """What came next in answers to other prompts, by the last tokens: the commonest token, and in
    which share of the times."""

    def __init__(self, answers: Iterable[Sequence[int]]) -> None:
        after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for ids in answers:
            for size in range(1, LONGEST + 1):
                for end in range(size, len(ids)):
                    after[tuple(ids[end - size : end])][ids[end]] += 1
        self._next: dict[tuple[int, ...], tuple[int, float]] = {}
        for context, counts in after.items():
            [(token, count)] = counts.most_common(1)
            self._next[context] = token, count / counts.total()

    def next(self, ids: Sequence[int]) -> tuple[int, float, int]:
        """The token that came next most often after the longest end of `ids` that is known, in
        which share of the times, and how long that end is; a length of 0 where none is."""
        for size in range(min(LONGEST, len(ids)), 0, -1):
            if (found := self._next.get(tuple(ids[-size:]))) is not None:
                return *found, size
        return 0, 0.0, 0

    def follow(self, ids: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens, each the probable one after those before it."""
        tail = list(ids[-LONGEST:])
        start = len(tail)
        while len(tail) - start < most:
            token, share, _ = self.next(tail)
            if share < PROBABLE:
                break
            tail.append(token)
        return tail[start:]


NONE = Phrases(())


class Guesser:
    """The tokens of one row so far, what followed each pair of them, and how other answers went
    on."""

    def __init__(self, ids: list[int], phrases: Phrases = NONE) -> None:
        self.ids: list[int] = []
        self.phrases = phrases
        self._after: dict[tuple[int, int], list[int]] = {}
        self.reach = MOST_GUESSED_AMONG_MANY
        self.extend(ids)

    def extend(self, ids: list[int]) -> None:
        """Take in the next tokens."""
        for token in ids:
            end = len(self.ids)
            if end >= PAIR:
                pair = self.ids[end - 2], self.ids[end - 1]
                self._after.setdefault(pair, []).append(end)
            self.ids.append(token)

    def guess(self, most: int, rows: int) -> list[int]:
        """Up to `most` tokens that may follow; fewer beside many rows.

        What the row itself went on with is believed, unless other answers always went on
        otherwise after as many tokens.
        """
        limit = MOST_GUESSED if rows <= FEW_ROWS else min(self.reach, MOST_GUESSED_AMONG_MANY)
        limit = max(0, min(most, limit))
        size, place = self._seen()
        own = self.ids[place : place + limit]
        _, share, alike = self.phrases.next(self.ids)
        if size and not (share >= SURE and alike >= size):
            return own
        return self.phrases.follow(self.ids, limit) or own

    def _seen(self) -> tuple[int, int]:
        """How many of the last tokens stood together before, at most `LONGEST`, and the last place
        after them; 0 and the end where no two did."""
        found = 0, len(self.ids)
        if len(self.ids) < PAIR:
            return found
        for place in self._after.get((self.ids[-2], self.ids[-1]), ())[-LOOKED_AT:]:
            size = PAIR
            while size < min(LONGEST, place) and self.ids[place - size - 1] == self.ids[-size - 1]:
                size += 1
            if size >= found[0]:
                found = size, place
        return found

    def learn(self, guessed: int, right: int) -> None:
        """Guess further where guesses were right, and less far where they were not."""
        if guessed:
            self.reach = min(MOST_GUESSED_AMONG_MANY, self.reach + 1) if right == guessed else right
            self.reach = max(1, self.reach)

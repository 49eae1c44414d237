"""Guessing what comes next from what was said before (prompt lookup: Saxena 2023; the checking is
speculative decoding, Leviathan et al. 2023, arXiv:2211.17192, greedy).

    prompt   … mail: jer . rivers @ example . org, phone …
    written  {"email": "jer . rivers             → the guess   @ example . org

A guess is read together with the token before it, and as much of it is kept as the model would
have written itself: the answer is the same, in fewer passes. Extraction copies much.
"""

from __future__ import annotations

ALIKE = 2  # tokens that must have stood together before
MOST_GUESSED = 8  # where a pass costs the same for one token as for many: few rows
MOST_GUESSED_AMONG_MANY = 2
FEW_ROWS = 8  # Source of all four: ours, docs/performance.md


class Guesser:
    """The tokens of one row so far, and what followed each pair of them last."""

    def __init__(self, ids: list[int]) -> None:
        self.ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self.reach = MOST_GUESSED_AMONG_MANY
        self.extend(ids)

    def extend(self, ids: list[int]) -> None:
        """Take in the next tokens."""
        for token in ids:
            end = len(self.ids)
            if end >= ALIKE:
                self._after[tuple(self.ids[end - ALIKE :])] = end
            self.ids.append(token)

    def guess(self, most: int, rows: int) -> list[int]:
        """Up to `most` tokens that followed the last ones before; fewer beside many rows."""
        place = self._after.get(tuple(self.ids[-ALIKE:]))
        if place is None:
            return []
        limit = MOST_GUESSED if rows <= FEW_ROWS else min(self.reach, MOST_GUESSED_AMONG_MANY)
        return self.ids[place : place + max(0, min(most, limit))]

    def learn(self, guessed: int, right: int) -> None:
        """Guess further where guesses were right, and less far where they were not."""
        if guessed:
            self.reach = min(MOST_GUESSED_AMONG_MANY, self.reach + 1) if right == guessed else right
            self.reach = max(1, self.reach)

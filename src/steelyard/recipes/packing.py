"""As much of what was found as a budget of tokens holds.

The instruction and the input are always in. The parts compete by how relevant each is among its
kind: the first passage, the last turn, the first record and the first example come before the
second ones. A passage or a record that does not fit is shortened to the sentences nearest to the
input before it is left out; the others are shown whole or not at all.

The count that decides is always that of the whole prompt by the model's own tokenizer. What a
part adds is estimated first, so that hardly any prompt is counted more than a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from steelyard.core import Passage
from steelyard.knowledge.text import nearest_sentences, split_sentences
from steelyard.models import Prompt
from steelyard.recipes.prompt import Frame, Part, PartKind, build_prompt

KINDS: tuple[PartKind, ...] = ("passage", "turn", "record", "example")  # of equal ranks
# Tokens by which estimates may be wrong: the headers of passages and records, and tokens that
# join where parts meet. Source: ours
SLACK = 48
MOST_KEPT = 10_000  # estimates; no more are remembered


@dataclass(frozen=True, slots=True)
class Packed:
    """A prompt, the parts that it shows as it shows them, and the names of what it does not."""

    prompt: Prompt
    parts: tuple[Part, ...] = ()
    left_out: tuple[str, ...] = ()


class Packer:
    """Packs prompts of one frame into a budget of tokens."""

    def __init__(self, frame: Frame, count: Callable[[Prompt], int], budget: int) -> None:
        self.frame = frame
        self.budget = budget
        self._count = count
        self._known: dict[str, int] = {}

    def pack(self, text: str, found: Sequence[Part]) -> Packed:
        """The prompt for an input, with all of `found` that fits, in its order.

        No part that was left out, or shortened, would have fitted whole.
        """
        whole = build_prompt(self.frame, found, text)
        if not found or self._count(whole) <= self.budget:
            return Packed(whole, tuple(found))
        filling = _Filling(self, text, found)
        filling.fill()
        return filling.packed()

    def size(self, text: str, parts: Sequence[Part]) -> int:
        """Tokens of a whole prompt."""
        return self._count(build_prompt(self.frame, parts, text))

    def estimate(self, part: Part) -> int:
        """Tokens that a part adds beside another of its kind."""
        name = f"{part.name}:{getattr(part.content, 'text', '')}"
        if name not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[name] = self.size("", [part, part]) - self.size("", [part])
        return self._known[name]


class _Filling:
    """One prompt on its way: which parts are in, and how many tokens they take."""

    def __init__(self, packer: Packer, text: str, found: Sequence[Part]) -> None:
        self.packer = packer
        self.text = text
        self.found = found
        self.taken: dict[int, Part] = {}
        self.refused: dict[int, dict[int, Part]] = {}  # what was in when a part did not fit
        self.used = packer.size(text, [])
        self.order = sorted(
            range(len(found)), key=lambda i: (found[i].rank, KINDS.index(found[i].kind))
        )

    def fill(self) -> None:
        if self.used > self.packer.budget:
            return  # nothing fits beside the input
        for place in self.order:
            self._take(place)
        self._settle()
        for place in self.order:  # what the estimates were too careful about
            if self.taken.get(place) is not self.found[place]:
                self._add(place, self.found[place])

    def packed(self) -> Packed:
        shown = self._shown(self.taken)
        left_out = []
        for place in self.order:
            part = self.found[place]
            if place not in self.taken:
                left_out.append(part.name)
            elif self.taken[place] is not part:
                left_out.append(f"sentences of {part.name}")
        return Packed(build_prompt(self.packer.frame, shown, self.text), shown, tuple(left_out))

    def _shown(self, taken: dict[int, Part]) -> tuple[Part, ...]:
        return tuple(taken[place] for place in sorted(taken))

    def _size(self, taken: dict[int, Part]) -> int:
        return self.packer.size(self.text, self._shown(taken))

    def _take(self, place: int) -> None:
        part, packer = self.found[place], self.packer
        expected = self.used + packer.estimate(part)
        if expected <= packer.budget - SLACK:
            self.taken[place] = part
            self.used = expected
        elif not self._add(place, part):
            self._add_shortened(place, part)

    def _add(self, place: int, part: Part) -> bool:
        """Take a part if the whole prompt, counted, then fits."""
        before = self.packer.estimate(self.taken[place]) if place in self.taken else 0
        least = self.used - before + self.packer.estimate(part)
        if least > self.packer.budget + SLACK:
            return False
        if self.refused.get(place) == self.taken and part is self.found[place]:
            return False
        size = self._size({**self.taken, place: part})
        if size > self.packer.budget:
            if part is self.found[place]:
                self.refused[place] = dict(self.taken)
            return False
        self.taken[place] = part
        self.used = size
        return True

    def _add_shortened(self, place: int, part: Part) -> None:
        """Take the sentences of a passage nearest to the input, as many as fit."""
        passage = part.content
        if not isinstance(passage, Passage):
            return
        sentences = split_sentences(passage.text)
        room = self.packer.budget - self.used
        tokens_each = self.packer.estimate(part) / max(1, len(passage.text))
        kept: list[int] = []
        for i in nearest_sentences(self.text, sentences):
            tokens = sum(len(sentences[k]) for k in [*kept, i]) * tokens_each
            if tokens <= room + SLACK and len(kept) < len(sentences) - 1:
                kept.append(i)
        while kept:
            text = " ".join(sentences[i] for i in sorted(kept))
            if self._add(place, replace(part, content=replace(passage, text=text))):
                return
            kept.pop()

    def _settle(self) -> None:
        """Count the whole, and give up the least relevant until it fits."""
        self.used = self._size(self.taken)
        for place in reversed(self.order):
            if self.used <= self.packer.budget:
                return
            if self.taken.pop(place, None) is not None:
                self.used = self._size(self.taken)

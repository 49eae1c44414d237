"""How a system's score stands up to small changes of its inputs that should not change answers.

plain    Where is my card?          case     where is my card?
                                    typos    Where is my crad?
lines    the lines of an input in another order, where it has several
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from steelyard.core import Answer, Example, Query, System
from steelyard.measure.grading import Grader

TYPO_SHARE = 0.1  # of the words of four letters and more. Source: ours


def robustness(
    system: System, examples: Sequence[Example], grader: Grader, *, seed: int
) -> dict[str, float | None]:
    """The mean score on `plain` inputs and under each change, the same ones for every system.

    None where no example was answered; a change that changes no input is left out.
    """
    kinds = {"plain": [e.input for e in examples]}
    for kind, change in CHANGES.items():
        texts = [change(e.input, random.Random(f"{seed}:{kind}:{e.id}")) for e in examples]
        if texts != kinds["plain"]:
            kinds[kind] = texts
    asked = [pair for texts in kinds.values() for pair in zip(texts, examples, strict=True)]
    # All at once: a pass over many answers costs little more than one over few.
    answers = system.answer_many(
        [Query(text, e.user, e.time, e.id, e.evidence) for text, e in asked]
    )
    size = len(examples)
    return {
        kind: _score(answers[place * size : (place + 1) * size], examples, grader)
        for place, kind in enumerate(kinds)
    }


def _score(answers: Sequence[Answer], examples: Sequence[Example], grader: Grader) -> float | None:
    scores = [
        grader.grade(answer, example).value
        for answer, example in zip(answers, examples, strict=True)
        if answer.error is None
    ]
    return sum(scores) / len(scores) if scores else None


def other_case(text: str, _chance: random.Random) -> str:
    """The text in small letters, or in capitals where it has none.

    >>> other_case("My Card", random.Random(0)), other_case("my card", random.Random(0))
    ('my card', 'MY CARD')
    """
    return text.lower() if text != text.lower() else text.upper()


def with_typos(text: str, chance: random.Random) -> str:
    """Two inner letters exchanged in a tenth of the longer words, in one at least.

    >>> with_typos("where is my card", random.Random(1))
    'wehre is my card'
    """
    words = [match.span() for match in re.finditer(r"[^\W\d_]{4,}", text)]
    chosen = chance.sample(words, min(len(words), max(1, round(TYPO_SHARE * len(words)))))
    letters = list(text)
    for start, end in chosen:
        at = chance.randrange(start + 1, end - 2)
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def reordered(text: str, chance: random.Random) -> str:
    """The lines in another order.

    >>> reordered("a\\nb", random.Random(0))
    'b\\na'
    """
    lines = text.split("\n")
    mixed = chance.sample(lines, len(lines))
    return "\n".join(lines[1:] + lines[:1] if mixed == lines else mixed)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "case": other_case,
    "typos": with_typos,
    "lines": reordered,
}

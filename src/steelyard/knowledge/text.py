"""Text as sentences, each with the marks that cite for it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

MARKS = r"\[\d{1,3}(?:\s*,\s*\d{1,3})*\]"
# The end of a sentence: its sign, closing quotes, and the marks that may follow it.
_END = re.compile(rf"[.!?。！？]+[\"'”’)]*(?:\s*{MARKS})*(?=\s|$)|\n+")
# Full stops that end no sentence: initials and the commonest abbreviations of English.
_NO_END = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|No|Jr|Sr|U\.S))\.$")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without the white space around them.

    >>> split_sentences("It opened in 1888. [1] Mr. Ott built it [2]! Why")
    ['It opened in 1888. [1]', 'Mr. Ott built it [2]!', 'Why']
    """
    found, start = [], 0
    for end in _END.finditer(text):
        sentence = text[start : end.end()].strip()
        if not sentence or _NO_END.search(sentence):
            continue
        found.append(sentence)
        start = end.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def cited(sentence: str) -> list[int]:
    """The numbers that a sentence cites, in order.

    >>> cited("It opened in 1888 [1, 3]. [2]")
    [1, 3, 2]
    """
    return [int(n) for mark in re.findall(MARKS, sentence) for n in re.findall(r"\d+", mark)]


def without_marks(text: str) -> str:
    """The text without its citations.

    >>> without_marks("In 1888 [1], says Ott. [2]")
    'In 1888, says Ott.'
    """
    return re.sub(rf"\s*{MARKS}", "", text).strip()


def nearest_sentences(query: str, sentences: Sequence[str]) -> list[int]:
    """The numbers of the sentences that share words with a query, the nearest first.

    A shared word counts by its rarity among the sentences: log(1 + N / n), N sentences of which
    n have it. Equals keep their order.

    >>> nearest_sentences("When was the mill built?", ["It is old.", "The mill was built in 1888."])
    [1]

    Source: the weight is that of inverse document frequency (Spärck Jones 1972), smoothed by one.
    """
    wanted = set(_words(query))
    held = [wanted.intersection(_words(sentence)) for sentence in sentences]
    counts = Counter(word for words in held for word in words)
    weight = {word: math.log(1 + len(sentences) / count) for word, count in counts.items()}
    scores = [math.fsum(weight[word] for word in sorted(words)) for words in held]
    return sorted((i for i, s in enumerate(scores) if s > 0), key=lambda i: -scores[i])


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())

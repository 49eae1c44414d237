"""Near-duplicate passages: found by MinHash, confirmed on the texts.

A passage that says the same as an earlier one of its scope is folded into it. Two passages say
the same if their words are equal but for case and punctuation; or if nearly all of their runs of
three words are, and no number, name or negation differs. A scope is a tenant, a user, dates,
metadata and title: what one question may see and another may not is never folded together, nor what
is about different things.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from steelyard.knowledge.minhash import MinHash

# One word in sixty may differ. Source: ours; Lee et al. 2022 (arXiv:2107.06499, 4.2) take five
# words and 0.8 for whole documents, but what is folded here is hidden from every search.
SHINGLE = 3
SIMILARITY = 0.9
# Four bands of five: 97 % of the pairs at 0.9 are found. Source: 1 - (1 - s^5)^4, Leskovec et al.,
# Mining of Massive Datasets, 3.4.2.
BANDS, ROWS = 4, 5
NEGATIONS = {"no", "not", "t", "never", "none", "nor", "cannot", "without", "nicht", "kein", "pas"}

# Words, and the signs that mean something: -5, C#, x < y, 5 $; not what is only punctuation.
WORD = re.compile(r"-(?=\d)|(?<=\w)#|\w+|[^\w\s.,;:!?'\"“”‘’()\[\]*#`~-]")
_HASH = MinHash(shingle=SHINGLE, bands=BANDS, rows=ROWS)


def keys(text: str, scope: str) -> list[int]:
    """Signed 64-bit numbers; passages of a scope that say the same share one of them.

    The first is of all words, the others (none for a short text) are of MinHash bands.
    """
    words = _words(text)
    salt = _number(scope.encode())
    found = [_number(" ".join(words).encode())]
    if len(words) >= SHINGLE:
        hashes = [zlib.crc32(word.encode()) for word in words]
        found += _HASH.bands(_HASH.shingles(hashes)).view(np.int64).tolist()
    return [key ^ salt for key in found]


def same(a: str, b: str) -> bool:
    """Whether two texts say the same.

    >>> same("A transfer costs two euros.", "a transfer costs two euros")
    True
    >>> same("A transfer costs 2 euros.", "A transfer costs 3 euros.")
    False
    """
    words_a, words_b = _words(a), _words(b)
    if words_a == words_b:
        return True
    return _resemblance(words_a, words_b) >= SIMILARITY and _facts(a) == _facts(b)


def _resemblance(a: Sequence[str], b: Sequence[str]) -> float:
    """The Jaccard similarity of the sets of shingles."""
    sets = [{tuple(w[i : i + SHINGLE]) for i in range(len(w) - SHINGLE + 1)} for w in (a, b)]
    union = len(sets[0] | sets[1])
    return len(sets[0] & sets[1]) / union if union else 0.0


def _facts(text: str) -> Counter[str]:
    """The words that must not differ: digits, signs, capital letters, negations."""
    return Counter(
        word.casefold()
        for word in WORD.findall(unicodedata.normalize("NFKC", text))
        if not word.islower() or word in NEGATIONS
    )


def _words(text: str) -> list[str]:
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold()) or [text]


def _number(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big", signed=True)

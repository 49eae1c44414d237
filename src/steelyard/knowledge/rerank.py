"""Found passages, put in order anew by a dearer judge than the search that found them.

A reranker takes queries and what was found for each, and returns the same passages with another
relevance, best first; equals keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Passage
from steelyard.errors import ModelError
from steelyard.models import Embedder, LabelScorer, Message, TokenEmbedder

KEPT_BYTES = 256_000_000  # of token vectors: about 2,000 passages of MiniLM. Source: ours
# Below any log-probability: a passage that the model could not be asked about.
UNSCORED = -1e9


def reorder(passages: Sequence[Passage], relevance: Sequence[float]) -> list[Passage]:
    """The passages by a new relevance, the largest first."""
    judged = [replace(p, relevance=r) for p, r in zip(passages, relevance, strict=True)]
    return sorted(judged, key=lambda passage: -passage.relevance)


def maxsim(query: NDArray[np.float32], passage: NDArray[np.float32]) -> float:
    """Late interaction: each token of the query finds its most similar one of the passage.

    The mean over the query's tokens, so that it lies in [-1, 1] whatever their number (the paper
    sums them: the order is the same). Nothing is similar to nothing.
    Shapes: tokens of length 1, [T, D] and [U, D].
    Source: Khattab & Zaharia 2020, ColBERT, arXiv:2004.12832, equation 3.
    """
    if not len(query) or not len(passage):
        return -1.0
    return float((query @ passage.T).max(axis=1).mean())


class MaxSim:
    """Reranks by `maxsim` over an embedder's own token vectors, without any training.

    Those of passages are kept, in float16: the same ones are found again and again.

    Raises:
        ModelError: the embedder tells no vectors of tokens.
    """

    def __init__(self, embedder: Embedder) -> None:
        if not isinstance(embedder, TokenEmbedder):
            raise ModelError(
                "reranking by maxsim needs the vectors of tokens, which this embedder does not "
                "tell; use a sentence-transformers folder, or another reranking"
            )
        self._embedder = embedder
        self._kept: dict[str, NDArray[np.float16]] = {}
        self._kept_bytes = 0

    def __call__(
        self, queries: Sequence[str], found: Sequence[Sequence[Passage]]
    ) -> list[list[Passage]]:
        asked = self._embedder.token_vectors(queries)
        answers = []
        for query, passages in zip(asked, found, strict=True):
            tokens = self._tokens([passage.text for passage in passages])
            answers.append(reorder(passages, [maxsim(query, own) for own in tokens]))
        return answers

    def _tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        new = list(dict.fromkeys(text for text in texts if text not in self._kept))
        vectors = self._embedder.token_vectors(new) if new else []
        for text, tokens in zip(new, vectors, strict=True):
            self._kept[text] = tokens.astype(np.float16)
            self._kept_bytes += self._kept[text].nbytes
        result = [self._kept[text].astype(np.float32) for text in texts]
        for text in texts:  # the latest used stand last
            self._kept[text] = self._kept.pop(text)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= self._kept.pop(next(iter(self._kept))).nbytes
        return result


class Likelihood:
    """Reranks by how likely the query is after each passage, read off a language model.

    Relevance is the mean natural-log probability of a query's token, its end included; a passage
    that does not fit the model's context comes last.
    Source: Sachan et al. 2022, UPR, arXiv:2204.07496, 2.2, their instruction.
    """

    def __init__(self, backend: LabelScorer) -> None:
        self._backend = backend

    def __call__(
        self, queries: Sequence[str], found: Sequence[Sequence[Passage]]
    ) -> list[list[Passage]]:
        return [
            reorder(passages, self._relevance(query, passages))
            for query, passages in zip(queries, found, strict=True)
        ]

    def _relevance(self, query: str, passages: Sequence[Passage]) -> list[float]:
        prompts = [(Message("user", question_prompt(passage.text)),) for passage in passages]
        tokens = self._backend.count_target_tokens(query)
        return [
            UNSCORED if scores.error is not None else scores.log_probs[0] / tokens
            for scores in self._backend.score_labels(prompts, [query])
        ]


def question_prompt(text: str) -> str:
    """What a model is asked about a passage, so that the query is its answer.

    >>> question_prompt("Cats sleep.")
    'Passage: Cats sleep. Please write a question based on this passage.'
    """
    return f"Passage: {text} Please write a question based on this passage."

"""Texts → blocks to be read: documents, inputs, and texts of the base's own among them.

    document   ■ The mill was built in 1888 by Ott . ■        ■ ends a text
    fed        ■ The mill was built  |  in 1888 by Ott .
    learned      The mill was built in | 1888 by Ott . ■

A block is a piece of one document and a row of its own, so attention never crosses from one
document into another. Every token of a document is learned exactly once an epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from steelyard.errors import TrainingError
from steelyard.models.render import Renderer
from steelyard.training.batches import Encoded

BLOCK_TOKENS = 512  # longer ones cost more attention, and few documents have them. Source: ours


def blocks(ids: Sequence[int], longest: int) -> list[Encoded]:
    """A text, from end token to end token, in as few blocks as it needs, all of about one length.

    >>> [(block.prompt, block.target) for block in blocks([0, 5, 6, 7, 0], 3)]
    [([0], [5, 6]), ([6], [7, 0])]
    """
    learned = len(ids) - 1
    num_blocks = -(-learned // longest)
    cuts = [1 + learned * number // num_blocks for number in range(num_blocks + 1)]
    return [
        Encoded(list(ids[start - 1 : start]), list(ids[start:stop]))
        for start, stop in itertools.pairwise(cuts)
    ]


def read(texts: Sequence[str], renderer: Renderer, context_tokens: int) -> list[Encoded]:
    """The blocks of texts, in their order. A text shorter than a block is a block.

    Raises:
        TrainingError: there is nothing to read in any of them.
    """
    longest = min(BLOCK_TOKENS, context_tokens - 1)
    found = [
        block
        for text in texts
        if text.strip()
        for block in blocks(renderer.document_ids(text), longest)
    ]
    if not found:
        raise TrainingError(
            f"none of the {len(texts)} texts to be read holds a word; name documents with text "
            "under [knowledge], or leave this recipe out"
        )
    return found

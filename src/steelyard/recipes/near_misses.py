"""What passages a row is trained with: its evidence among near misses, or near misses alone.

    evidence shown       found [miss a, miss b, miss c]   →   [miss a, EVIDENCE, miss b]
                         found [EVIDENCE, miss a, …]      →   as it was found
    evidence withheld    found [EVIDENCE, miss a, …]      →   [miss a, miss b, miss c]

A near miss is what search finds and the answer is not in. A model that is only ever shown the
right passage learns to copy from whatever it is shown.

Source: RAFT, Zhang et al. 2024, arXiv:2403.10131, section 3.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from steelyard.core import Passage, Query, Recipe, Task

# Of rows that are shown their evidence. Source: ours, docs/log/2026-11-27-objectives.md; RAFT has
# 40 to 100 %.
ALWAYS, WHERE_ONE_MAY_ABSTAIN = 1.0, 0.8


def evidence_shown(recipe: Recipe, task: Task, seed: int) -> dict[str, bool]:
    """Of each training row of known evidence, by its id, whether it is shown that evidence.

    Exactly `evidence_share` of them are, to the nearest row, and which depends on the seed alone.
    Empty where no weights learn from examples, and where `search` already says what is shown.
    """
    weights, context = recipe.weights, recipe.context
    learns = weights.method != "none" and "examples" in weights.learn
    if not learns or context.search in ("evidence", "random"):
        return {}
    known = [example.id for example in task.train if example.evidence]
    known.sort(key=lambda id: hashlib.sha256(f"evidence:{seed}:{id}".encode()).digest())
    share = weights.evidence_share
    if share is None:
        share = ALWAYS if task.knowledge.abstain is None else WHERE_ONE_MAY_ABSTAIN
    count = round(share * len(known))
    return {id: place < count for place, id in enumerate(known)}


def as_trained(
    query: Query,
    found: Sequence[Passage],
    evidence: Sequence[Passage],
    *,
    k: int,
    shown: bool,
    seed: int,
) -> list[Passage]:
    """The k passages that a training row is shown, of those found for it, best first.

    A document of its evidence that was not among them has its first passage of `evidence` put at
    a place that the seed decides: always the same one would teach where to look.
    """
    if not shown:
        return [passage for passage in found if passage.document not in query.evidence][:k]
    top = list(found[:k])
    there = {passage.document for passage in top}
    missing = {passage.document: passage for passage in reversed(evidence)}
    chance = random.Random(f"evidence:{seed}:{query.example}")
    for document, passage in sorted(missing.items()):
        misses = [place for place, p in enumerate(top) if p.document not in query.evidence]
        if document in there or (len(top) == k and not misses):
            continue
        if len(top) == k:
            top.pop(misses[-1])
        top.insert(chance.randrange(len(top) + 1), passage)
    return top

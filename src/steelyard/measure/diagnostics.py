"""What the diagnostics say of the others: paired differences, each with a sentence.

A diagnostic differs from a recipe in one thing, so that the difference of their scores is what
that thing brings. It is no candidate, and unless it is asked for by name it is measured on a part
of dev that is enough to see a large difference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from steelyard.core import Comparison, Example, Json
from steelyard.measure.decision import Candidate, compare_pairs

# Dev examples that a diagnostic is measured on, at most: four times in five they show a difference
# of 17 points where the two disagree on two examples in ten, and of 12 where on one.
# Source: ours, docs/log/2026-11-26-time-and-users.md
DIAGNOSED = 50


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two recipes that differ in one thing, and what it means that the first scores higher."""

    a: str
    b: str
    higher: str
    not_higher: str


CONTRASTS = (
    Contrast(
        *("oracle-passages", "zero-shot"),
        "the documents hold what the model alone does not know",
        "it is not shown that the right passages help: the model knows without them, or cannot "
        "read them",
    ),
    Contrast(
        *("oracle-passages", "rag"),
        "a better search would bring more",
        "a better search is not shown to bring more",
    ),
    Contrast(
        *("rag", "random-passages"),
        "it matters which passages are shown",
        "it is not shown to matter which passages are shown",
    ),
    Contrast(
        *("rag", "undated-passages"),
        "answering as of the time that is asked about beats ignoring time",
        "answering as of the time that is asked about is not shown to beat ignoring time",
    ),
    Contrast(
        *("few-shot", "shuffled-shot"),
        "the examples teach more than their form",
        "the examples are not shown to teach more than their form",
    ),
)

_PAIRS = [(contrast.a, contrast.b) for contrast in CONTRASTS]


def diagnosed(
    name: str, examples: Sequence[Example], measured: Mapping[str, Collection[str]]
) -> tuple[Example, ...]:
    """The examples that a diagnostic is measured on: the first in the order of the race, at most
    `DIAGNOSED` and no more than one of the recipes has that it is held against.

    `measured` are the examples by id that each recipe was measured on.
    """
    way, _, model = name.partition("@")
    against = [b if way == a else a for a, b in _PAIRS if way in (a, b)]
    known = [measured.get(f"{other}@{model}" if model else other, ()) for other in against]
    useful = [e for e in examples if not any(known) or any(e.id in ids for ids in known)]
    return tuple(useful[:DIAGNOSED])


def explain(
    candidates: Sequence[Candidate],
    groups: Mapping[str, str],
    *,
    confidence: float,
    seed: int,
) -> tuple[Json, ...]:
    """The contrasts among finished recipes and diagnostics: a comparison and a sentence each.

    Recipes of different models are not held against each other.
    """
    found = {candidate.name: candidate for candidate in candidates}
    pairs, contrasts = [], []
    for model in dict.fromkeys(name.partition("@")[2] for name in found):
        for contrast in CONTRASTS:
            names = [f"{name}@{model}" if model else name for name in (contrast.a, contrast.b)]
            if all(name in found for name in names):
                a, b = (found[name] for name in names)
                if len({groups[e] for e in a.scores if e in b.scores}) > 1:
                    pairs.append((a, b))
                    contrasts.append(contrast)
    compared = compare_pairs(pairs, groups, "dev", confidence=confidence, seed=seed)
    return tuple(
        {**asdict(one), "sentence": _sentence(one, contrast, confidence)}
        for one, contrast in zip(compared, contrasts, strict=True)
    )


def _sentence(one: Comparison, contrast: Contrast, confidence: float) -> str:
    low, high = one.interval
    way = "higher" if one.difference >= 0 else "lower"
    beyond = one.p_adjusted < 1 - confidence
    said = contrast.higher if beyond and one.difference > 0 else contrast.not_higher
    chance = "" if beyond else f" (p {one.p_adjusted:.2f} after Holm), which may be chance"
    return (
        f"{one.a} scores {abs(one.difference):.3f} {way} than {one.b} on {one.num_examples} dev "
        f"examples, interval [{low:.3f}, {high:.3f}]{chance}: {said}."
    )

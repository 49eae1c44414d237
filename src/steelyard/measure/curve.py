"""How a score moves with the amount of one part of the context, and where enough is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from steelyard.core import Comparison, Json, RecipeReport
from steelyard.measure.decision import Candidate, compare_pairs


@dataclass(frozen=True, slots=True)
class Amount:
    """One amount, measured: its value, its scores by example, and its line of the table."""

    value: int
    candidate: Candidate
    report: RecipeReport


def context_curve(
    part: str,
    amounts: Sequence[Amount],
    groups: Mapping[str, str],
    *,
    confidence: float,
    seed: int,
) -> Json:
    """The points of the curve, its sweet spot if there is one, and a sentence about it.

    The sweet spot is the smallest amount that scores more than the least one beyond chance, and
    that no other amount beats beyond chance. Gains over the least, and differences between the
    others, are each adjusted (Holm), so that a flat curve has a sweet spot in at most
    1 − confidence of all studies.
    """
    points = [
        {
            "value": amount.value,
            "recipe": amount.report.name,
            "dev": None if amount.report.dev is None else asdict(amount.report.dev),
            "usd_per_1k": amount.report.usd_per_1k,
            "usd_per_1k_interval": amount.report.usd_per_1k_interval,
            "prompt_tokens": amount.report.prompt_tokens,
            "latency_ms": asdict(amount.report.latency_ms),
        }
        for amount in amounts
    ]
    if len(amounts) < 2:
        sentence = f"No curve over {part}: {len(amounts)} of its amounts could be measured."
        return {"part": part, "points": points, "sweet_spot": None, "sentence": sentence}
    found: dict[tuple[int, int], Comparison] = {}
    for family in (
        [(more, amounts[0]) for more in amounts[1:]],
        list(combinations(amounts[1:], 2)),
    ):
        pairs = [(a.candidate, b.candidate) for a, b in family]
        compared = compare_pairs(pairs, groups, "dev", confidence=confidence, seed=seed)
        found |= {(a.value, b.value): c for (a, b), c in zip(family, compared, strict=True)}
    spot, sentence = _sweet_spot(part, amounts, found, alpha=1 - confidence)
    return {"part": part, "points": points, "sweet_spot": spot, "sentence": sentence}


def _sweet_spot(
    part: str,
    amounts: Sequence[Amount],
    found: Mapping[tuple[int, int], Comparison],
    *,
    alpha: float,
) -> tuple[int | None, str]:
    """The amount, and the sentence that says why it is that one, or why there is none.

    `found` holds each amount against the least, and the smaller against the larger of the others.
    """
    least, others = amounts[0], amounts[1:]
    # By (higher, lower): what is more than chance.
    shown = {
        pair if c.difference > 0 else pair[::-1]
        for pair, c in found.items()
        if c.p_adjusted < alpha
    }
    gaining = [a for a in others if (a.value, least.value) in shown]
    if not gaining:
        best = max(amounts, key=lambda amount: (amount.candidate.mean, -amount.value))
        if best is least:
            return None, f"No sweet spot: {part} = {least.value}, the least, scores highest."
        gain = _gain(found[best.value, least.value])
        return None, (
            f"No sweet spot: {part} = {best.value} scores highest, which may be chance: {gain} "
            f"{part} = {least.value}."
        )
    unbeaten = [a for a in gaining if not any((b.value, a.value) in shown for b in others)]
    if not unbeaten:
        names = " and ".join(f"{part} = {amount.value}" for amount in gaining)
        return None, (
            f"No sweet spot: {names} gained on {part} = {least.value} beyond chance, and others, "
            "whose own gain may be chance, are shown to score more."
        )
    spot = unbeaten[0]
    sentence = (
        f"Sweet spot: {part} = {spot.value} scores {spot.candidate.mean:.3f}, "
        f"{_gain(found[spot.value, least.value])} {part} = {least.value}, and no other amount is "
        "shown to score more."
    )
    top = max(others, key=lambda amount: (amount.candidate.mean, -amount.value))
    if top.candidate.mean > spot.candidate.mean:
        sentence += (
            f" The highest, {part} = {top.value}, scores {top.candidate.mean:.3f}, which may be "
            "chance."
        )
    return spot.value, sentence


def _gain(comparison: Comparison) -> str:
    low, high = comparison.interval
    return f"{comparison.difference:.3f} [{low:.3f}, {high:.3f}] more than"

"""How a score moves with the amount of one part of the context, and where enough is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from steelyard.core import Json, RecipeReport
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
    tolerance: float,
    confidence: float,
    seed: int,
) -> Json:
    """The points of the curve, its sweet spot if there is one, and a sentence about it.

    The sweet spot is the least amount that is surely within `tolerance` of the best one. There is
    none where the best amount is not better than the least beyond chance.
    """
    points = [
        {
            "value": amount.value,
            "recipe": amount.report.name,
            "dev": None if amount.report.dev is None else asdict(amount.report.dev),
            "usd_per_1k": amount.report.usd_per_1k,
            "prompt_tokens": amount.report.prompt_tokens,
            "latency_ms": asdict(amount.report.latency_ms),
        }
        for amount in amounts
    ]
    if len(amounts) < 2:
        sentence = f"No curve over {part}: {len(amounts)} of its amounts could be measured."
        return {"part": part, "points": points, "sweet_spot": None, "sentence": sentence}
    best = max(amounts, key=lambda amount: (amount.candidate.mean, -amount.value))
    others = [amount for amount in amounts if amount is not best]
    compared = compare_pairs(
        [(best.candidate, other.candidate) for other in others],
        groups,
        "dev",
        confidence=confidence,
        seed=seed,
    )
    behind = {other.value: found for other, found in zip(others, compared, strict=True)}
    least = amounts[0]
    spot: int | None = None
    if least is best:
        sentence = f"No sweet spot: {part} = {least.value}, the least, scores highest."
    elif behind[least.value].interval[0] <= 0:
        low, high = behind[least.value].interval
        sentence = (
            f"No sweet spot: {part} = {best.value} scores highest, and {part} = {least.value} "
            f"is not worse beyond chance (difference {behind[least.value].difference:.3f}, "
            f"interval [{low:.3f}, {high:.3f}])."
        )
    else:
        enough = [a for a in amounts if a is best or behind[a.value].interval[1] <= tolerance]
        spot = enough[0].value
        sentence = (
            f"Sweet spot: {part} = {spot} scores {enough[0].candidate.mean:.3f}; "
            + ("no other amount scores more" if enough[0] is best else _near(part, best, tolerance))
            + f", and {part} = {least.value} scores {least.candidate.mean:.3f}."
        )
        open_ones = [a for a in amounts if a.value < spot and behind[a.value].interval[0] <= 0]
        if open_ones:
            fewer = open_ones[0]
            sentence += (
                f" {part} = {fewer.value} scores {fewer.candidate.mean:.3f}, which is not shown to "
                "be less."
            )
    return {"part": part, "points": points, "sweet_spot": spot, "sentence": sentence}


def _near(part: str, best: Amount, tolerance: float) -> str:
    return (
        f"that is within {tolerance:g} of the best ({part} = {best.value}, "
        f"{best.candidate.mean:.3f})"
    )

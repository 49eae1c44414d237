"""Any two or more systems, from files of their scores: the statistics of the verdict.

a.jsonl ┐
b.jsonl ┼ the same examples ─→ each pair compared ─→ Holm over all pairs ─→ sentences
c.jsonl ┘
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from steelyard.core import Comparison, Json
from steelyard.measure.decision import compare_pairs
from steelyard.measure.score_files import ScoreFile, read_score_files
from steelyard.measure.statistics import Interval, detectable_difference, mean_interval


@dataclass(frozen=True, slots=True)
class Compared:
    """What `compare` found: each file's mean score, each pair's difference, and it in words.

    `detectable[i]` is the smallest true difference that `comparisons[i]` would mostly have
    found, and `sentences[i]` says it.
    """

    means: dict[str, tuple[float, Interval]]
    comparisons: tuple[Comparison, ...]
    detectable: tuple[float, ...]
    sentences: tuple[str, ...]
    sentence: str

    def to_json(self) -> dict[str, Json]:
        """The machine-readable result; docs/compare.md describes every key."""
        rows = zip(self.comparisons, self.detectable, self.sentences, strict=True)
        return {
            "sentence": self.sentence,
            "comparisons": [
                {
                    **asdict(comparison),
                    "interval": list(comparison.interval),
                    "detectable_difference": detectable,
                    "sentence": sentence,
                }
                for comparison, detectable, sentence in rows
            ],
            "systems": [
                {"name": name, "score": score, "interval": list(interval)}
                for name, (score, interval) in self.means.items()
            ],
        }


def compare(
    *files: str | Path,
    group: str | None = None,
    scorer: str | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Compared:
    """How much higher each file scores than each later one on the same examples.

    Rows are `{"id", "score"}`, or `{"id", "prediction", "target"}` with a `scorer`. Rows of one
    `group` (a column) count as one observation.

    Raises:
        InputError: the files, or what is in them, cannot be compared.
        TrialError: a scoring function of the user's own failed.
    """
    read, groups = read_score_files([Path(file) for file in files], group=group, scorer=scorer)
    means = {file.name: _mean(file, groups, confidence, seed) for file in read}
    pairs = list(itertools.combinations(read, 2))
    comparisons = compare_pairs(pairs, groups, None, confidence=confidence, seed=seed)
    detectable = tuple(
        detectable_difference(c.interval, confidence=confidence) for c in comparisons
    )
    ties = [all(a.scores[id_] == b.scores[id_] for id_ in a.scores) for a, b in pairs]
    sentences = tuple(
        _sentence(comparison, means, found, is_tie, confidence)
        for comparison, found, is_tie in zip(comparisons, detectable, ties, strict=True)
    )
    whole = sentences[0] if len(pairs) == 1 else _overall(comparisons, means, confidence)
    return Compared(means, comparisons, detectable, sentences, whole)


def _mean(
    file: ScoreFile, groups: dict[str, str], confidence: float, seed: int
) -> tuple[float, Interval]:
    values = list(file.scores.values())
    interval = mean_interval(
        values, [groups[id_] for id_ in file.scores], confidence=confidence, seed=seed
    )
    return sum(values) / len(values), interval


# ---------------------------------------------------------------- in words


def _sentence(
    comparison: Comparison,
    means: dict[str, tuple[float, Interval]],
    detectable: float,
    is_tie: bool,
    confidence: float,
) -> str:
    a, b = comparison.a, comparison.b
    on = f"on {comparison.num_examples:,} examples"
    if comparison.num_groups < comparison.num_examples:
        on += f" in {comparison.num_groups:,} groups"
    low, high = comparison.interval
    interval = f"{confidence:.0%} interval [{low:.3f}, {high:.3f}]"
    if is_tie:
        return (
            f"{a} and {b} score the same on every one: {means[a][0]:.3f} {on}. "
            f"The true difference lies within the {interval}: {_finds(detectable)}."
        )
    way = "higher" if comparison.difference > 0 else "lower"
    gap = f"{abs(comparison.difference):.3f} {way}" if comparison.difference else "as high"
    facts = (
        f"{a} scores {means[a][0]:.3f} and {b} {means[b][0]:.3f} {on}: {a} is {gap}, {interval}, "
        f"adjusted p {_p(comparison.p_adjusted)}"
    )
    if _is_shown(comparison, confidence):
        return f"{facts}. That is more than chance."
    return f"{facts}, which may be chance: {_finds(detectable)}."


def _finds(detectable: float) -> str:
    return (
        f"a true difference under {detectable:.3f} goes unseen more than once in five times on as "
        "many examples like these"
    )


def _overall(
    comparisons: Sequence[Comparison], means: dict[str, tuple[float, Interval]], confidence: float
) -> str:
    """The highest, and which of the others are shown to be lower."""
    best = max(means, key=lambda name: means[name][0])
    lower: list[str] = []
    level: list[str] = []
    for comparison in comparisons:
        if best in (comparison.a, comparison.b):
            other = comparison.b if comparison.a == best else comparison.a
            (lower if _is_shown(comparison, confidence) else level).append(other)
    parts = [f"{best} scores highest, {means[best][0]:.3f} on {_on(comparisons)}."]
    if lower:
        parts.append(f"More than chance above {_and(lower)}.")
    if level:
        parts.append(f"Whether it is above {_and(level)} may be chance.")
    parts.append(f"p values are adjusted for {len(comparisons)} comparisons.")
    return " ".join(parts)


def _on(comparisons: Sequence[Comparison]) -> str:
    return f"{comparisons[0].num_examples:,} examples"


def _is_shown(comparison: Comparison, confidence: float) -> bool:
    return comparison.p_adjusted < 1 - confidence


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _p(value: float) -> str:
    """A p value that is never printed as 0.

    >>> _p(0.0321), _p(0.0000004), _p(1.0)
    ('0.032', 'below 0.001', '1.000')
    """
    return "below 0.001" if value < 0.001 else f"{value:.3f}"

"""Whether a system serves some kinds of examples worse: scores by slice, and the largest gap.

    column "region":  north 0.91 [0.85, 0.96] (80)   south 0.74 [0.64, 0.82] (75)
                      largest gap 0.17, p 0.004 after permuting groups and adjusting for columns

A column is sliced when it has 2 to `MOST_SLICES` values with `LEAST_ROWS` rows each; values with
fewer are left out. Columns are those of the data that the model does not see, the label, the
language and the length of the input.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.audit.findings import Finding
from steelyard.audit.languages import language
from steelyard.core import Example, Json
from steelyard.measure.statistics import Interval, holm, mean_interval
from steelyard.tasks.wording import count

MOST_SLICES = 12  # Source: ours
LEAST_ROWS = 10  # Source: ours; below that an interval spans half the scale
PERMUTATIONS = 2_000
CELLS = 500_000  # of permuted values at once, 4 MB. Source: ours
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Slice:
    """The examples with one value of a column."""

    value: str
    score: float
    interval: Interval
    num_examples: int


@dataclass(frozen=True, slots=True)
class Sliced:
    """A column's slices, the lowest first; `p_adjusted` is for the largest gap between two."""

    column: str
    slices: tuple[Slice, ...]
    p_adjusted: float

    @property
    def gap(self) -> float:
        return self.slices[-1].score - self.slices[0].score


def by_slice(name: str, scores: Mapping[str, float], examples: Sequence[Example]) -> list[Finding]:
    """A finding for each column whose largest gap is more than chance, and one for all of them."""
    tables = slice_tables(scores, examples)
    if not tables:
        return []
    findings = [
        Finding(
            "warning",
            "slice-gap",
            f"{name} scores {table.slices[0].score:.3f} where {table.column} is "
            f"{table.slices[0].value}, and {table.slices[-1].score:.3f} where it is "
            f"{table.slices[-1].value}: {table.gap:.3f} apart, adjusted p "
            f"{table.p_adjusted:.3f}.",
            "Look at answers of the lower slice; add training rows of it, or give it a recipe of "
            "its own.",
            figures={"system": name, **_figures(table)},
        )
        for table in tables
        if table.p_adjusted < LEVEL
    ]
    widest = max(tables, key=lambda table: table.gap)
    findings.append(
        Finding(
            "note",
            "slices",
            f"{name} by slice: {count(len(tables), 'column')} looked at, "
            f"{len(findings)} with a gap beyond chance; the widest is {widest.gap:.3f} "
            f"({widest.column}).",
            "Nothing.",
            figures={"system": name, "columns": [_figures(table) for table in tables]},
        )
    )
    return findings


def sliced(name: str, scores: Mapping[str, float], examples: Sequence[Example]) -> Json:
    """A system's scores by slice as plain values, for a report."""
    return {"recipe": name, "columns": [_figures(t) for t in slice_tables(scores, examples)]}


def slice_tables(
    scores: Mapping[str, float], examples: Sequence[Example], *, seed: int = 0
) -> list[Sliced]:
    """Every column that can be sliced. p values are Holm-adjusted over the columns.

    The p value of a column is the share of permutations of its values, between groups, whose
    largest gap is at least as large. Source: Fisher's permutation test; one is added to count
    and number (Davison and Hinkley 1997, equation 4.11).
    """
    scored = [example for example in examples if example.id in scores]
    raw = []
    for column, values in columns_of(scored).items():
        rows = [(e, v) for e, v in zip(scored, values, strict=True) if v is not None]
        slices = [_slice(value, rows, scores) for value in dict.fromkeys(v for _, v in rows)]
        whole = [one for one in slices if one is not None]
        if len(whole) < 2:
            continue
        kept = {one.value for one in whole}
        rows = [(e, v) for e, v in rows if v in kept]
        p = _p_value(
            np.array([scores[e.id] for e, _ in rows]),
            [v for _, v in rows],
            [e.group for e, _ in rows],
            seed,
        )
        raw.append((column, tuple(sorted(whole, key=lambda one: one.score)), p))
    adjusted = holm([p for _, _, p in raw])
    return [Sliced(column, slices, p) for (column, slices, _), p in zip(raw, adjusted, strict=True)]


def columns_of(examples: Sequence[Example]) -> dict[str, list[str | None]]:
    """The columns that can be sliced, each with a value per example; None: in no slice."""
    names = dict.fromkeys(name for example in examples for name in example.metadata)
    columns: dict[str, list[str | None]] = {
        name: [_text(example.metadata.get(name)) for example in examples] for name in names
    }
    if all(isinstance(example.target, str) for example in examples):
        columns["target"] = [str(example.target) for example in examples]
    columns["language of the input"] = [language(example.input) for example in examples]
    columns["length of the input"] = _thirds(examples)
    return {name: kept for name, values in columns.items() if (kept := _slices(values)) is not None}


def _slices(values: Sequence[str | None]) -> list[str | None] | None:
    """The values that are common enough, or nothing where a column has too many or too few."""
    numbers = Counter(value for value in values if value is not None)
    common = {value for value, number in numbers.items() if number >= LEAST_ROWS}
    covered = sum(numbers[value] for value in common)
    if not 2 <= len(common) <= MOST_SLICES or covered < len(values) / 2:
        return None
    return [value if value in common else None for value in values]


def _text(value: Json) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return str(value)


def _thirds(examples: Sequence[Example]) -> list[str | None]:
    sizes = [len(example.input) for example in examples]
    low, high = np.quantile(sizes, [1 / 3, 2 / 3]) if sizes else (0, 0)
    return ["short" if s <= low else "long" if s > high else "middle" for s in sizes]


def _slice(
    value: str | None, rows: Sequence[tuple[Example, str | None]], scores: Mapping[str, float]
) -> Slice | None:
    own = [example for example, v in rows if v == value]
    groups = [example.group for example in own]
    if len(own) < LEAST_ROWS or len(set(groups)) < 2:
        return None
    values = [scores[example.id] for example in own]
    return Slice(str(value), sum(values) / len(values), mean_interval(values, groups), len(own))


def _p_value(
    scores: NDArray[np.float64], values: Sequence[str | None], groups: Sequence[str], seed: int
) -> float:
    """Permutes the values between blocks: rows of one group and one value move together."""
    names = {value: number for number, value in enumerate(dict.fromkeys(values))}
    blocks: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for score, value, group in zip(scores, values, groups, strict=True):
        blocks[group, names[value]].append(float(score))
    sums = np.array([sum(block) for block in blocks.values()])
    sizes = np.array([len(block) for block in blocks.values()], dtype=np.float64)
    own = np.array([number for _, number in blocks])
    seen = _largest_gaps(sums, sizes, own[None, :], len(names))[0]
    rng = np.random.default_rng(seed)
    beyond, left = 0, PERMUTATIONS
    while left:
        rows = min(left, max(1, CELLS // len(own)))
        permuted = rng.permuted(np.tile(own, (rows, 1)), axis=1)
        gaps = _largest_gaps(sums, sizes, permuted, len(names))
        beyond += int(np.count_nonzero(gaps >= seen - 1e-12))
        left -= rows
    return (1 + beyond) / (1 + PERMUTATIONS)


def _largest_gaps(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], values: NDArray[np.int64], number: int
) -> NDArray[np.float64]:
    """Shapes: sums, sizes [blocks], values [permutations, blocks] → [permutations]."""
    means = np.stack(
        [((values == value) @ sums) / ((values == value) @ sizes) for value in range(number)]
    )
    return np.asarray(means.max(axis=0) - means.min(axis=0))


def _figures(table: Sliced) -> dict[str, Json]:
    return {
        "column": table.column,
        "gap": table.gap,
        "p_adjusted": table.p_adjusted,
        "slices": [
            {
                "value": one.value,
                "score": one.score,
                "interval": list(one.interval),
                "num_examples": one.num_examples,
            }
            for one in table.slices
        ],
    }

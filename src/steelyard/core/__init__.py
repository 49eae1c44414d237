"""The nouns. Read this package first: task, recipe, system, verdict.

    Task ──┐
           ├─ build ─→ System ── measured on a split ──→ Trial ─┐
    Recipe ┘                                                    ├─ compared ─→ Verdict
                                                     other Trials┘

Everything here is frozen data with no behaviour beyond its own arithmetic. `System` and
`Scorer` are protocols: anything with these methods can be measured, ours or not.
"""

from __future__ import annotations

from steelyard.core.passage import Passage
from steelyard.core.recipe import LEARNING_RATES, Context, Decoding, Objective, Recipe, Weights
from steelyard.core.system import Answer, Query, Section, Source, System
from steelyard.core.task import (
    Example,
    Knowledge,
    Limits,
    ModelSpec,
    Output,
    Preference,
    Refresh,
    Search,
    Task,
)
from steelyard.core.values import SPLITS, Json, Split, Usage, cut, digest
from steelyard.core.verdict import (
    BreakEven,
    Comparison,
    Latency,
    Outcome,
    RecipeReport,
    Release,
    Row,
    Score,
    Scorer,
    Serving,
    SplitReport,
    Status,
    Trial,
    Verdict,
)

__all__ = [
    "LEARNING_RATES",
    "SPLITS",
    "Answer",
    "BreakEven",
    "Comparison",
    "Context",
    "Decoding",
    "Example",
    "Json",
    "Knowledge",
    "Latency",
    "Limits",
    "ModelSpec",
    "Objective",
    "Outcome",
    "Output",
    "Passage",
    "Preference",
    "Query",
    "Recipe",
    "RecipeReport",
    "Refresh",
    "Release",
    "Row",
    "Score",
    "Scorer",
    "Search",
    "Section",
    "Serving",
    "Source",
    "Split",
    "SplitReport",
    "Status",
    "System",
    "Task",
    "Trial",
    "Usage",
    "Verdict",
    "Weights",
    "cut",
    "digest",
]

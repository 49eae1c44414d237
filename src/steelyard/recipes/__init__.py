"""Recipes and how they become Systems."""

from steelyard.recipes.build import Built, build, reopen
from steelyard.recipes.finding import Lookup
from steelyard.recipes.presets import (
    CONTROLS,
    DIAGNOSTICS,
    is_one_of,
    model_of,
    presets,
    select,
)
from steelyard.recipes.reflecting import check_reflection
from steelyard.recipes.sweep import Sweep, parse_sweep, swept
from steelyard.recipes.workshop import Workshop

__all__ = [
    "CONTROLS",
    "DIAGNOSTICS",
    "Built",
    "Lookup",
    "Sweep",
    "Workshop",
    "build",
    "check_reflection",
    "is_one_of",
    "model_of",
    "parse_sweep",
    "presets",
    "reopen",
    "select",
    "swept",
]

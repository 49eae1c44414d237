"""Recipes and how they become Systems."""

from steelyard.recipes.allowing import why_not
from steelyard.recipes.build import Built, build, reopen, trained
from steelyard.recipes.finding import Lookup
from steelyard.recipes.presets import (
    CONTROLS,
    DIAGNOSTICS,
    has_users,
    is_one_of,
    model_of,
    presets,
    select,
)
from steelyard.recipes.recipe_file import recipe_toml, stored_recipe
from steelyard.recipes.reflecting import check_reflection
from steelyard.recipes.sweep import LABELS, Sweep, parse_sweep, swept
from steelyard.recipes.workshop import Workshop

__all__ = [
    "CONTROLS",
    "DIAGNOSTICS",
    "LABELS",
    "Built",
    "Lookup",
    "Sweep",
    "Workshop",
    "build",
    "check_reflection",
    "has_users",
    "is_one_of",
    "model_of",
    "parse_sweep",
    "presets",
    "recipe_toml",
    "reopen",
    "select",
    "stored_recipe",
    "swept",
    "trained",
    "why_not",
]

"""Recipes and how they become Systems."""

from steelyard.recipes.build import Built, Workshop, build
from steelyard.recipes.presets import CONTROLS, model_of, presets, select

__all__ = ["CONTROLS", "Built", "Workshop", "build", "model_of", "presets", "select"]

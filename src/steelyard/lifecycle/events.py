"""What a verb tells while it works: plain values, so that any front can show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from steelyard.core import RecipeReport, Split
from steelyard.training import Progress


@dataclass(frozen=True, slots=True)
class Planned:
    """What is about to be weighed, and what the splits can tell apart."""

    task: str
    recipes: tuple[str, ...]
    num_train: int
    num_dev: int
    num_test: int
    minimum_detectable_difference: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """A recipe is being built."""

    recipe: str


@dataclass(frozen=True, slots=True)
class Training:
    """A step of a recipe's training."""

    recipe: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Searching:
    """So many answers of a recipe's search on train are there."""

    recipe: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Measured:
    """So many examples of a split are answered; `score` is the mean so far."""

    recipe: str
    split: Split
    done: int
    total: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A recipe is through with dev, with whatever came of it."""

    report: RecipeReport


Event = Planned | Started | Training | Searching | Measured | Ended
Listener = Callable[[Event], None]

"""Steelyard weighs what goes into a model's context against what goes into its weights.

>>> import steelyard
>>> task = steelyard.load_task("examples/tickets/task.toml")  # doctest: +SKIP
>>> verdict = steelyard.weigh(task)  # doctest: +SKIP

Importing this module is cheap: nothing heavy is loaded before a verb needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core import (
        Answer,
        Example,
        Query,
        Recipe,
        Release,
        System,
        Task,
        Trial,
        Verdict,
    )
    from steelyard.errors import SteelyardError
    from steelyard.lifecycle.advising import advise
    from steelyard.lifecycle.checking import check
    from steelyard.lifecycle.planning import plan
    from steelyard.lifecycle.publishing import publish, rollback
    from steelyard.lifecycle.refreshing import refresh
    from steelyard.lifecycle.weigh import weigh
    from steelyard.measure.compare import compare
    from steelyard.tasks import load_task

__version__ = "0.1.0"

_PLACES = {
    "Answer": "core",
    "Example": "core",
    "Query": "core",
    "Recipe": "core",
    "Release": "core",
    "System": "core",
    "Task": "core",
    "Trial": "core",
    "Verdict": "core",
    "SteelyardError": "errors",
    "advise": "lifecycle",
    "check": "lifecycle",
    "compare": "measure.compare",
    "load_task": "tasks",
    "plan": "lifecycle",
    "publish": "lifecycle",
    "refresh": "lifecycle",
    "rollback": "lifecycle",
    "weigh": "lifecycle",
}

__all__ = [
    "Answer",
    "Example",
    "Query",
    "Recipe",
    "Release",
    "SteelyardError",
    "System",
    "Task",
    "Trial",
    "Verdict",
    "advise",
    "check",
    "compare",
    "load_task",
    "plan",
    "publish",
    "refresh",
    "rollback",
    "weigh",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)

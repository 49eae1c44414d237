"""Imports go downwards only, nothing heavy is loaded before it is needed, nothing is circular."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import steelyard

SOURCE = Path(steelyard.__file__).parent

# The levels, the lowest first. Packages of one level do not import each other.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("core",),
    ("tasks", "store", "models"),
    ("knowledge", "training"),
    ("recipes", "measure"),
    ("audit", "advice"),
    ("lifecycle",),
    ("serve",),
    ("cli",),
)
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages}

HEAVY = (
    *("torch", "transformers", "sklearn", "scipy", "llguidance", "pyarrow"),
    *("sacrebleu", "pandas", "aiohttp", "starlette", "uvicorn", "jsonschema"),
)
MODULES = {
    ".".join(("steelyard", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(SOURCE.rglob("*.py"))
}


@cache
def imports(path: Path, *, only_at_the_top: bool = False) -> set[str]:
    """The full names that a file imports, those inside functions included unless told not to."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if only_at_the_top else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def package(module: str) -> str:
    """steelyard.models.fake → models; "" for steelyard itself."""
    return module.split(".")[1] if "." in module else ""


def test_a_module_imports_only_from_levels_below_its_own():
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in imports(path)
        if module != "steelyard" and name.split(".")[0] == "steelyard"
        if package(name) != "__version__" and not _may(package(module), package(name))
    ]
    assert not wrong


def _may(own: str, other: str) -> bool:
    """Whether a package may import from another one."""
    return own == other or (other in LEVEL and LEVEL[other] < LEVEL[own])


def test_that_would_be_seen():
    assert _may("lifecycle", "measure")
    assert not _may("measure", "lifecycle")
    assert not _may("measure", "recipes")
    assert not _may("measure", "unknown")


def test_every_package_has_its_level():
    assert {package(module) for module in MODULES} - {""} <= set(LEVEL)


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        module: {
            known
            for name in imports(path, only_at_the_top=True)
            for known in (name, name.rpartition(".")[0])
            if known in MODULES and known not in ("steelyard", module)
        }
        for module, path in MODULES.items()
        if module != "steelyard"
    }
    for module in list(graph):
        # A package's own __init__ is loaded before its modules and gathers them: no cycle.
        graph[module] = {name for name in graph[module] if not module.startswith(f"{name}.")}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(MODULES) - {"steelyard"}


def test_tasks_and_measure_know_no_torch_and_nobody_loads_it_at_the_top_but_its_users():
    for module, path in MODULES.items():
        everywhere = {name.split(".")[0] for name in imports(path)}
        at_the_top = {name.split(".")[0] for name in imports(path, only_at_the_top=True)}
        if package(module) not in ("core", "errors", "models", "training", "recipes"):
            assert not everywhere & {"torch", "transformers"}, module
        opening = {f"steelyard.models.{name}" for name in ("opening", "loading", "places")}
        if path.stem == "__init__" or module in opening:
            assert not at_the_top & {"torch", "transformers"}, module


def loaded_after(statement: str) -> set[str]:
    """Which of the heavy packages a fresh Python has in memory after a statement."""
    code = f"import sys; {statement}; print(*(m for m in {HEAVY} if m in sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ran.stdout.split())


def test_importing_steelyard_loads_nothing_heavy():
    assert loaded_after("import steelyard") == set()
    assert loaded_after("import steelyard; steelyard.load_task; steelyard.Task") == set()


def test_the_command_line_starts_with_nothing_heavy():
    assert loaded_after("import steelyard.cli.main") == set()


def test_the_child_that_reads_documents_starts_with_nothing_heavy():
    assert loaded_after("import steelyard.knowledge.reading.worker") == set()


def test_the_public_names_are_there_and_another_is_an_attribute_error():
    for name in steelyard.__all__:
        assert getattr(steelyard, name) is not None
    with pytest.raises(AttributeError, match="wiegh"):
        _ = steelyard.wiegh  # type: ignore[attr-defined]

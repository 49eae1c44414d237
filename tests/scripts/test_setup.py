"""The set-up script: what it says when pip fails, and when it has nothing to do."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("steelyard_setup", ROOT / "scripts" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(requirement: str) -> str:
    """The package a requirement names: "Scikit_Learn>=1.5" → "scikit-learn"."""
    name = re.split(r"[<>=\[ ;]", requirement, maxsplit=1)[0]
    return name.strip().lower().replace("_", "-")


def requirements(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {package(line) for line in lines if line and not line.startswith("#")}


def test_everything_asked_for_is_pinned(setup: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = requirements(ROOT / "requirements-dev.txt")
    asked |= {package(line) for line in project["dependencies"]}
    for extra in project["optional-dependencies"].values():
        asked |= {package(line) for line in extra}
    asked |= {package(name) for name in setup.STEPS[0][1] + setup.STEPS[-1][1][1:]}
    assert asked - requirements(ROOT / "constraints.txt") == set()


def test_torch_is_the_first_step_and_alone(setup: ModuleType) -> None:
    assert setup.STEPS[0] == ("torch", ("torch",))
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("after connection broken by 'NewConnectionError(", "could not reach its index"),
        ("The user requested (constraint) torch==9.0\nResolutionImpossible", "no torch==9.0 that"),
        ("ERROR: No matching distribution found for ruff==9", "no ruff==9 that"),
        ("Segmentation fault", "its last lines are above"),
    ],
)
def test_a_failed_step_says_what_to_do(setup: ModuleType, output: str, advice: str) -> None:
    assert advice in setup.remedy(output)


def test_a_changed_constraint_makes_the_set_up_run_again(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("torch==1\n")
    (tmp_path / "python").touch()
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "DECIDES", ("constraints.txt",))
    monkeypatch.setattr(setup, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(setup, "STAMP", tmp_path / "stamp")
    assert not setup.is_ready()
    setup.STAMP.write_text(setup.wanted())
    assert setup.is_ready()
    (tmp_path / "constraints.txt").write_text("torch==2\n")
    assert not setup.is_ready()

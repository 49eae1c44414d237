"""The set-up script: what it says when pip fails, and when it has nothing to do."""

from __future__ import annotations

import importlib.util
import re
import sys
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
    monkeypatch.setattr(setup, "PYTHON", tmp_path / "python")
    stamp, decides = tmp_path / "stamp", ("constraints.txt",)
    assert not setup.is_ready(stamp, decides, setup.PYTHON)
    stamp.write_text(setup.wanted(decides))
    assert setup.is_ready(stamp, decides, setup.PYTHON)
    (tmp_path / "constraints.txt").write_text("torch==2\n")
    assert not setup.is_ready(stamp, decides, setup.PYTHON)


@pytest.fixture
def steps_run(setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pip would have been asked for, in a folder of its own with a venv that works."""
    ran: list[str] = []
    for name in setup.BENCH_DECIDES + setup.LITELLM_DECIDES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    for name in ("PYTHON", "LITELLM", "STAMP", "BENCH_STAMP", "LITELLM_STAMP", "LOG"):
        monkeypatch.setattr(setup, name, tmp_path / name)
    setup.PYTHON.touch()
    monkeypatch.setattr(setup, "make_venv", lambda python: python.touch())
    monkeypatch.setattr(
        setup, "install", lambda what, _, python: ran.append(f"{what} in {python.name}")
    )
    return ran


def test_the_peers_are_installed_for_benchmarks_alone_and_once(
    setup: ModuleType, steps_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    setup.main()
    assert [step.split("(")[1] for step in steps_run] == [
        "torch) in PYTHON",
        "tools) in PYTHON",
        "steelyard) in PYTHON",
        "models) in PYTHON",
    ]
    steps_run.clear()
    monkeypatch.setattr(sys, "argv", ["setup.py", "bench"])
    setup.main()
    setup.main()
    assert steps_run == ["step 1/1 (peers) in PYTHON", "step 1/1 (litellm) in LITELLM"]


def test_other_peers_do_not_install_everything_again(
    setup: ModuleType, steps_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["setup.py", "bench"])
    setup.main()
    steps_run.clear()
    (setup.ROOT / "requirements-bench.txt").write_text("trl==9\n")
    setup.main()
    assert steps_run == ["step 1/1 (peers) in PYTHON"]


def test_what_the_peers_share_with_us_is_pinned_once() -> None:
    ours = requirements(ROOT / "constraints.txt")
    lines = (ROOT / "requirements-bench.txt").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            assert ("==" in line) != (package(line) in ours), line


def test_the_peer_with_a_venv_of_its_own_has_every_version_named() -> None:
    lines = (ROOT / "requirements-litellm.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in pin for pin in pins)
    assert {"litellm", "uvicorn"} <= {package(pin) for pin in pins}

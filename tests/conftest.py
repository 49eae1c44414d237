"""What every test may use. Set before anything heavy is imported: one thread, no network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiled tests are kept, whatever the machine says: each of pytest's processes would compile all.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile(
    "steelyard",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],  # on a busy machine everything is
)
settings.load_profile("steelyard")


@pytest.fixture(scope="session", autouse=True)
def fake_training_here() -> Iterator[None]:
    """The fake model is trained in this process."""
    import fake_child

    with pytest.MonkeyPatch.context() as patch:
        fake_child.patched(patch)
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random language model."""
    from tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Any:
    """The tiny model as a backend in float32, shared: tests that add adapters open their own."""
    from tiny import open_in_float32

    return open_in_float32(tiny_folder)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from steelyard.models import sharing


@pytest.fixture(autouse=True)
def beginnings_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short beginnings stand apart from the rows, as long ones do, unless a test joins them."""
    monkeypatch.setattr(sharing, "JOINED_TOKENS", 0)


@pytest.fixture(scope="session")
def library(tiny_folder: Path) -> Any:
    """The tiny model as transformers itself runs it, with none of our own parts."""
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()

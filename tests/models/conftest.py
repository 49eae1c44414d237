from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="session")
def library(tiny_folder: Path) -> Any:
    """The tiny model as transformers itself runs it, with none of our own parts."""
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()

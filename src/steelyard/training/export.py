"""Trained weights in the formats of other tools.

    peft          adapter_model.safetensors and adapter_config.json, to put over the base
    merged        a model folder that plain transformers loads
    gguf          model-f16.gguf, for llama.cpp
    gguf-q8_0     model-q8_0.gguf, half its size
    gguf-adapter  adapter.gguf, to put over the base's own GGUF

Each carries the hash of the base model, and `refuse_other_base` reads it back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from steelyard.errors import InputError, StoreError
from steelyard.models import lora, whole
from steelyard.models.places import locate
from steelyard.models.torch_backend import TorchBackend
from steelyard.training import gguf_files

NO_LONGER_TRUE = ("quantization_config", "_pre_quantization_dtype", "_name_or_path")


def export(backend: TorchBackend, format: str, folder: Path) -> Path:
    """Write the model that answers in `backend` to an existing folder; the file to load, or it.

    Raises:
        InputError: the model has no such form.
    """
    return FORMATS[format](backend, folder)


def merged_tensors(backend: TorchBackend) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors in float32 under Hugging Face's names, its adapter added to them.

    A head that is the embedding is left out.
    """
    model = backend.loaded.decoder.model
    adapted: dict[str, lora.LoraLinear] = {}
    if backend.adapter is not None:
        adapted = {f"{name}.base.weight": layer for name, layer in lora.layers(model)}
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    for name, tensor in model.state_dict().items():
        if ".adapters." in name or (tied and name == "lm_head.weight"):
            continue
        if backend.adapter is not None and name in adapted:
            weight = lora.merged(adapted[name], backend.adapter)
        else:
            weight = tensor.detach().float().clone()  # parts of a fused matrix stand alone
        yield name.replace(".base.", "."), weight.cpu()


def refuse_other_base(path: Path, base: str) -> None:
    """Refuse an exported file or folder that was made from another base model.

    Raises:
        StoreError: it was, or it does not say from which.
    """
    found = _base_of(path)
    if found != base:
        raise StoreError(
            f"{path}: made from base {str(found)[:12]}, and this base is {base[:12]}; use the "
            "model that it was made from"
        )


def _base_of(path: Path) -> str | None:
    if path.suffix == ".gguf":
        return gguf_files.base_of(path)
    file = next(
        (path / n for n in (lora.WEIGHTS_FILE, whole.WEIGHTS_FILE) if (path / n).is_file()), path
    )
    try:
        with safe_open(file, framework="pt") as weights:
            return (weights.metadata() or {}).get(lora.BASE)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: no exported model that can be read ({error})") from error


def _adapter(backend: TorchBackend, format: str) -> tuple[str, Path]:
    if backend.adapter is None or backend.folder is None:
        raise InputError(
            f"--format {format}: this model is no adapter over a base, all its weights are its "
            "own. Expected one of merged, gguf, gguf-q8_0"
        )
    return backend.adapter, backend.folder


def _peft(backend: TorchBackend, folder: Path) -> Path:
    _, source = _adapter(backend, "peft")
    for name in (lora.WEIGHTS_FILE, lora.CONFIG_FILE):
        shutil.copyfile(source / name, folder / name)
    return folder


def _merged(backend: TorchBackend, folder: Path) -> Path:
    model = backend.loaded.decoder.model
    state = {name: tensor.to(model.dtype) for name, tensor in merged_tensors(backend)}
    whole.save(folder, state, model, backend.renderer.tokenizer, base=backend.base)
    config = json.loads((folder / whole.CONFIG_FILE).read_text(encoding="utf-8"))
    for key in NO_LONGER_TRUE:
        config.pop(key, None)
    config["dtype"] = str(model.dtype).removeprefix("torch.")
    (folder / whole.CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def _gguf(kind: gguf_files.Kind) -> Callable[[TorchBackend, Path], Path]:
    def write(backend: TorchBackend, folder: Path) -> Path:
        return write_gguf(backend, folder / f"model-{kind}.gguf", kind)

    return write


def write_gguf(backend: TorchBackend, path: Path, kind: gguf_files.Kind) -> Path:
    """Write the model as one GGUF file."""
    place = Path(locate(backend.source))
    with torch.inference_mode():
        gguf_files.write_model(
            path,
            merged_tensors(backend),
            kind,
            model=backend.loaded.decoder.model,
            tokenizer=backend.renderer.tokenizer,
            source=place if place.suffix == ".gguf" else None,
            base=backend.base,
        )
    return path


def _gguf_adapter(backend: TorchBackend, folder: Path) -> Path:
    adapter, _ = _adapter(backend, "gguf-adapter")
    loaded = backend.loaded
    path = folder / "adapter.gguf"
    gguf_files.write_adapter(path, loaded.decoder.model, adapter, base=backend.base)
    return path


FORMATS: dict[str, Callable[[TorchBackend, Path], Path]] = {
    "peft": _peft,
    "merged": _merged,
    "gguf": _gguf("f16"),
    "gguf-q8_0": _gguf("q8_0"),
    "gguf-adapter": _gguf_adapter,
}

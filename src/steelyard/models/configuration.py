"""A model's config.json, without its weights and without a download."""

from __future__ import annotations

import json
from pathlib import Path

from steelyard.core import Json
from steelyard.errors import ModelError
from steelyard.models.gguf_header import read_header
from steelyard.models.hub import cached_config
from steelyard.models.places import locate

# What a .gguf file calls the sizes, after its architecture's name, and what config.json does.
GGUF_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "context_length": "max_position_embeddings",
    "expert_count": "num_local_experts",
}


def model_config(source: str) -> dict[str, Json]:
    """The config of "default", a folder, a .gguf file, or a hub id that is cached here.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    folder = Path(source).expanduser()
    file = folder / "config.json"
    if not file.is_file():
        place = Path(locate(source))
        if place.suffix == ".gguf":
            return _gguf_config(place)
        file = place / "config.json" if place.is_dir() else _cached(source)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file}: expected a JSON object with the sizes of a model")
    return config


def _cached(hub_id: str) -> Path:
    if (found := cached_config(hub_id)) is None:
        raise ModelError(
            f'the config.json of "{hub_id}" is not in the cache of this machine, and a plan '
            "downloads nothing; name a folder with a config.json"
        )
    return found


def _gguf_config(path: Path) -> dict[str, Json]:
    try:
        header = read_header(path)
        family = header.values["general.architecture"]
        config: dict[str, Json] = {"model_type": family}
        for key, name in GGUF_KEYS.items():
            if (value := header.values.get(f"{family}.{key}")) is not None:
                config[name] = list(value) if isinstance(value, tuple) else value
        config["vocab_size"] = header.lengths["tokenizer.ggml.tokens"]
        config["tie_word_embeddings"] = "output.weight" not in header.tensors
    except (KeyError, ValueError, OSError) as error:
        raise ModelError(f"{path}: cannot be read as a .gguf model ({error})") from error
    return config

"""Models and adapters as GGUF files, the format of llama.cpp.

A base that came as a .gguf keeps all that its file says; one that came as a folder gets its
configuration and its tokenizer written out. The rows of a Llama's query and key layers stand in
another order in GGUF: halves of a head that Hugging Face rotates against each other are woven into
pairs, in the weights and in an adapter's B alike.

    a head of six rows, here    0 1 2 | 3 4 5     there    0 3 1 4 2 5
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from torch import Tensor

from steelyard.errors import InputError, StoreError
from steelyard.models import lora

Kind = Literal["f16", "q8_0"]
BASE = "steelyard.base"  # the key that holds the hash of the base model
TYPES: dict[Kind, tuple[Any, Any]] = {
    "f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
BLOCK = 32  # numbers that share a scale in Q8_0
OF_THE_FILE = (  # facts of a source that are not facts of its model
    *("general.architecture", "general.file_type", "general.quantization_version"),
    *("split.no", "split.count", "split.tensors.count", BASE),
)
PRE = "tokenizer.ggml.pre"


@dataclass(frozen=True)
class Family:
    """A model family of llama.cpp; `woven`: it rotates neighbours, not halves."""

    arch: Any
    woven: bool = False


FAMILIES = {
    "llama": Family(gguf.MODEL_ARCH.LLAMA, woven=True),
    "qwen2": Family(gguf.MODEL_ARCH.QWEN2),
    "qwen3": Family(gguf.MODEL_ARCH.QWEN3),
}


def family_of(config: Any) -> Family:
    """The family of a Hugging Face configuration.

    Raises:
        InputError: it is none of `FAMILIES`, or rotates in a way that is not written here.
    """
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if config.model_type not in FAMILIES or rope.get("rope_type", "default") != "default":
        raise InputError(
            f'a model of type "{config.model_type}" with rope type '
            f'"{rope.get("rope_type", "default")}" cannot be written as GGUF here; expected '
            f"{', '.join(FAMILIES)} with the default one. Export it with --format merged and use "
            "llama.cpp's own converter"
        )
    return FAMILIES[config.model_type]


def write_model(
    path: Path,
    tensors: Iterable[tuple[str, Tensor]],
    kind: Kind,
    *,
    model: Any,
    tokenizer: Any,
    source: Path | None,
    base: str,
) -> None:
    """Write float32 tensors under Hugging Face's names as a GGUF model of a number type.

    `source` is the .gguf that the base came from, if it did. Norms and biases stay in float32, and
    so does what cannot be cut into blocks in F16.
    """
    config = model.config
    family = family_of(config)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.arch], use_temp_file=True)
    names = _Names(family, config)
    reader = None if source is None else gguf.GGUFReader(source)
    if reader is not None:
        _copy_facts(writer, reader, pre=_pre(tokenizer))
    else:
        _add_configuration(writer, config)
        _add_tokenizer(writer, tokenizer, config.vocab_size)
    quantised, file_type = TYPES[kind]
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_string(BASE, base)
    written = set()
    for name, tensor in tensors:
        own = names.of(name)
        written.add(own)
        values = names.in_order(name, tensor).numpy()
        fits = values.ndim == 2 and (quantised != Type.Q8_0 or values.shape[1] % BLOCK == 0)
        wanted = quantised if fits else Type.F16 if values.ndim == 2 else Type.F32
        writer.add_tensor(own, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    for tensor in reader.tensors if reader is not None else ():
        if tensor.name not in written:  # such as a table of rotations
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _finish(writer)


def write_adapter(path: Path, model: Any, adapter: str, *, base: str) -> None:
    """Write an adapter of a wrapped model as GGUF, in float32."""
    family = family_of(model.config)
    names = _Names(family, model.config)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.arch], use_temp_file=True)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_string(BASE, base)
    alphas = set()
    for name, layer in lora.layers(model):
        pair: Any = layer.adapters[adapter]
        if pair.magnitude is not None:
            raise InputError(
                "an adapter of DoRA has no form in GGUF; export the merged model with --format gguf"
            )
        alphas.add(round(pair.scale * pair.a.shape[0], 6))
        own, b = names.of(f"{name}.weight"), names.in_order(f"{name}.weight", pair.b)
        writer.add_tensor(f"{own}.lora_a", _floats(pair.a))
        writer.add_tensor(f"{own}.lora_b", _floats(b))
    assert len(alphas) == 1, "one adapter has one alpha"
    writer.add_float32("adapter.lora.alpha", alphas.pop())
    _finish(writer)


def base_of(path: Path) -> str | None:
    """The hash of the base model that a GGUF file of ours carries, or None.

    Raises:
        StoreError: it is no GGUF file.
    """
    try:
        field = gguf.GGUFReader(path).fields.get(BASE)
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(f"{path}: no GGUF file that can be read ({error})") from error
    return None if field is None else str(field.contents())


def woven(rows: Tensor, heads: int) -> Tensor:
    """Rows of a query or key layer in GGUF's order. Shapes: [H · D, …] → [H · D, …].

    >>> import torch
    >>> woven(torch.arange(6), heads=1).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return halves.transpose(1, 2).reshape(rows.shape)


class _Names:
    """Names and row orders of one model in GGUF."""

    def __init__(self, family: Family, config: Any) -> None:
        self.woven = family.woven
        self.heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        self.table = gguf.get_tensor_name_map(family.arch, config.num_hidden_layers)

    def of(self, name: str) -> str:
        found = self.table.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise InputError(f"the tensor {name} has no name in GGUF; export with --format merged")
        return str(found)

    def in_order(self, name: str, tensor: Tensor) -> Tensor:
        layer = name.split(".")[-2]
        tensor = tensor.detach().float().cpu()
        return woven(tensor, self.heads[layer]) if self.woven and layer in self.heads else tensor


def _floats(tensor: Tensor) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = tensor.detach().float().cpu().contiguous().numpy()
    return values


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_facts(writer: Any, reader: Any, *, pre: str | None) -> None:
    """What a source says of its model. How text is cut is what cut the rows trained on: `pre`,
    where that is known."""
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in OF_THE_FILE:
            continue
        if field.name == PRE and pre is not None:
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type)


def _add_configuration(writer: Any, config: Any) -> None:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_type("model")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(dict(config.rope_parameters)["rope_theta"])
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: Any, tokenizer: Any, vocab_size: int) -> None:
    """Write a byte-level BPE tokenizer and its chat template.

    Raises:
        InputError: it is of another kind.
    """
    pre = pre_of(tokenizer)
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = [f"[unused {number}]" for number in range(vocab_size)]
    types = [gguf.TokenType.UNUSED] * vocab_size
    for text, number in whole["model"]["vocab"].items():
        tokens[number], types[number] = text, gguf.TokenType.NORMAL
    for added in whole["added_tokens"]:
        special = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], special
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = whole["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(number)
    writer.add_add_bos_token(value=False)  # the chat template writes it
    writer.add_chat_template(tokenizer.chat_template)


def pre_of(tokenizer: Any) -> str:
    """llama.cpp's name for how a tokenizer cuts text before it merges.

    Raises:
        InputError: it is none that is known here.
    """
    found = _pre(tokenizer)
    if found is None:
        raise InputError(
            "this model's tokenizer cannot be written as GGUF here; expected byte-level BPE that "
            "cuts text as GPT-2, SmolLM, Qwen 2 or Llama 3 do. Export with --format merged and "
            "use llama.cpp's own converter"
        )
    return found


def _pre(tokenizer: Any) -> str | None:
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    first = whole["pre_tokenizer"] or {}
    steps = first.get("pretokenizers", [first])
    kinds = [step.get("type") for step in steps]
    if whole["model"]["type"] != "BPE" or kinds[-1:] != ["ByteLevel"]:
        return None
    if kinds == ["ByteLevel"] and steps[0]["use_regex"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not steps[1]["use_regex"]:
        pattern = steps[0]["pattern"].get("Regex", "")
        if r"\p{N}{1,3}" in pattern:
            return "llama-bpe"
        return "qwen2" if r"\p{N}|" in pattern else None
    return None

"""What the arithmetic needs to know about a model: its shape, from config.json or from a table.

No weights are read and nothing is downloaded. The table holds the models whose memory was
published, so that a plan for them needs no file at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from steelyard.core import Json
from steelyard.errors import ModelError, unknown
from steelyard.models.configuration import model_config

TARGETS = {
    "qv": ("query", "value"),
    "qkvo": ("query", "key", "value", "output"),
    "all": ("query", "key", "value", "output", "gate", "up", "down"),
}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The shape of a dense transformer.

    `gated`: the feed-forward part has three matrices instead of two. `tied`: input and output
    share the embedding matrix. `cross_layers` counts the decoder layers of an encoder-decoder,
    which attend twice; `layers` counts all layers. `context_tokens` is None when the config does
    not say.
    """

    name: str
    layers: int
    width: int
    ff_width: int
    heads: int
    kv_heads: int
    vocabulary: int
    head_width: int
    gated: bool = True
    tied: bool = False
    cross_layers: int = 0
    context_tokens: int | None = None

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """The matrices of one layer by what they do: width of input and of output."""
        attention, shared = self.heads * self.head_width, self.kv_heads * self.head_width
        found = {
            "query": (self.width, attention),
            "key": (self.width, shared),
            "value": (self.width, shared),
            "output": (attention, self.width),
            "gate": (self.width, self.ff_width),
            "up": (self.width, self.ff_width),
            "down": (self.ff_width, self.width),
        }
        if not self.gated:
            del found["gate"]
        return found

    @property
    def layer_parameters(self) -> int:
        """Parameters of the largest layer; norms and biases are left out, under 0.1 %."""
        own = self.matrices
        parameters = sum(a * b for a, b in own.values())
        if self.cross_layers:
            parameters += sum(own[n][0] * own[n][1] for n in TARGETS["qkvo"])
        return parameters

    @property
    def matrix_parameters(self) -> int:
        """All that is multiplied in the layers, which is also what can be quantised."""
        own = self.matrices
        crossing = sum(own[n][0] * own[n][1] for n in TARGETS["qkvo"])
        layer = sum(a * b for a, b in own.values())
        return self.layers * layer + self.cross_layers * crossing

    @property
    def embedding_parameters(self) -> int:
        """The embedding matrix and, unless it is the same one, the output head."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.matrix_parameters + self.embedding_parameters

    def adapter_parameters(self, rank: int, targets: str = "all") -> int:
        """LoRA's parameters: `rank` × (input + output) for each adapted matrix."""
        own = self.matrices
        pairs = [own[name] for name in TARGETS[targets] if name in own]
        return self.layers * rank * sum(a + b for a, b in pairs)

    def kv_bytes_per_token(self, number_bytes: float = 2) -> float:
        """Keys and values that one token leaves in all layers.

        2 · layers · kv_heads · head width · bytes. Source: EVIDENCE, checked against
        SmolLM2-135M 22.5 KiB, Llama-3.1-8B 128 KiB, Llama-2-7B 512 KiB.
        """
        return 2 * self.layers * self.kv_heads * self.head_width * number_bytes


def read_facts(source: str) -> ModelFacts:
    """The shape of "default", a folder, a .gguf file, a cached hub id, or a model of the table.

    Raises:
        ModelError: it is none of these, or of a kind that the formulas do not cover.
    """
    if (known := _known(source)) is not None:
        return known
    try:
        config = model_config(source)
    except ModelError as error:
        raise ModelError(f"{error}. {unknown('model', source, KNOWN)}") from error
    return facts_of(source, config)


def _known(source: str) -> ModelFacts | None:
    """A model of the table by its name or hub id, without what its publishers add to it."""
    name = source.rsplit("/", 1)[-1].lower().removeprefix("meta-")
    for ending in ("-hf", "-instruct", "-chat", "-it", "-chat-v1.0"):
        name = name.removesuffix(ending)
    return KNOWN.get(name)


# Under these keys config.json says something that the formulas do not cover.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok")


def facts_of(name: str, config: Mapping[str, Json]) -> ModelFacts:
    """Read a Hugging Face config.json; families differ in the names of the same things.

    Raises:
        ModelError: a mixture of experts, a nested config, or one that lacks a size.
    """
    if found := [key for key in EXPERTS if int(config.get(key) or 0) > 1]:
        raise ModelError(
            f"{name}: config.json has {found[0]} = {config[found[0]]}, a mixture of experts; "
            "expected a dense model, as the formulas count every parameter as used"
        )
    family = str(config.get("model_type", ""))
    if family in ("t5", "mt5", "umt5"):
        return _encoder_decoder(name, config)

    def size(*keys: str) -> int:
        for key in keys:
            if config.get(key) is not None:
                return int(config[key])
        raise ModelError(
            f"{name}: config.json lacks {' or '.join(keys)}; expected the config of a decoder, "
            "such as a Llama, Qwen, Gemma, Phi, GPT-NeoX or Falcon model"
        )

    width, heads = size("hidden_size", "n_embd", "d_model"), size("num_attention_heads", "n_head")
    two_matrices = family in ("phi", "gpt_neox", "falcon", "gpt2", "bloom", "opt", "gpt_bigcode")
    ff_width = int(config.get("intermediate_size") or config.get("ffn_dim") or 4 * width)
    if family == "qwen":
        ff_width //= 2  # its two halves are the gate and what is gated
    tied_by_default = family in ("gemma", "gemma2", "gemma3_text", "gpt2", "bloom", "falcon")
    context = config.get("max_position_embeddings") or config.get("n_positions")
    return ModelFacts(
        name=name,
        layers=size("num_hidden_layers", "n_layer"),
        width=width,
        ff_width=ff_width,
        heads=heads,
        kv_heads=_kv_heads(family, config, heads),
        vocabulary=size("vocab_size"),
        head_width=int(config.get("head_dim") or width // heads),
        gated=not two_matrices,
        tied=bool(config.get("tie_word_embeddings", tied_by_default)),
        context_tokens=None if context is None else int(context),
    )


def _kv_heads(family: str, config: Mapping[str, Json], heads: int) -> int:
    if family == "falcon" and not config.get("new_decoder_architecture"):
        return 1 if config.get("multi_query", True) else heads
    if family == "gpt_bigcode":
        return 1 if config.get("multi_query", True) else heads
    return int(config.get("num_key_value_heads") or config.get("num_kv_heads") or heads)


def _encoder_decoder(name: str, config: Mapping[str, Json]) -> ModelFacts:
    decoder = int(config.get("num_decoder_layers") or config["num_layers"])
    return ModelFacts(
        name=name,
        layers=int(config["num_layers"]) + decoder,
        width=int(config["d_model"]),
        ff_width=int(config["d_ff"]),
        heads=int(config["num_heads"]),
        kv_heads=int(config["num_heads"]),
        vocabulary=int(config["vocab_size"]),
        head_width=int(config["d_kv"]),
        gated="gated" in str(config.get("feed_forward_proj", "")),
        tied=bool(config.get("tie_word_embeddings", True)),
        cross_layers=decoder,
    )


def _model(name: str, sizes: str, *, kv_heads: int | None = None, **more: Any) -> ModelFacts:
    """`sizes`: layers, width, feed-forward width, heads and vocabulary, as config.json has them."""
    layers, width, ff_width, heads, vocabulary = map(int, sizes.split())
    facts = ModelFacts(
        name,
        layers,
        width,
        ff_width,
        heads,
        kv_heads or heads,
        vocabulary,
        head_width=width // heads,
    )
    return replace(facts, **more)


# Source: the config.json of each model on the Hugging Face hub. A test compares the number of
# parameters with the published one.
_TABLE = (
    _model("SmolLM2-135M", "30 576 1536 9 49152", kv_heads=3, tied=True, context_tokens=8192),
    _model("SmolLM2-360M", "32 960 2560 15 49152", kv_heads=5, tied=True, context_tokens=8192),
    _model("SmolLM2-1.7B", "24 2048 8192 32 49152", tied=True, context_tokens=8192),
    _model("llama-160m", "12 768 3072 12 32000", context_tokens=2048),
    _model("TinyLlama-1.1B", "22 2048 5632 32 32000", kv_heads=4, context_tokens=2048),
    _model("LLaMA-65B", "80 8192 22016 64 32000", context_tokens=2048),
    _model("Llama-2-7b", "32 4096 11008 32 32000", context_tokens=4096),
    _model("Llama-2-13b", "40 5120 13824 40 32000", context_tokens=4096),
    _model("Llama-2-70b", "80 8192 28672 64 32000", kv_heads=8, context_tokens=4096),
    _model("CodeLlama-34b", "48 8192 22016 64 32000", kv_heads=8, context_tokens=16384),
    _model("Llama-3.1-8B", "32 4096 14336 32 128256", kv_heads=8, context_tokens=131072),
    _model("Llama-3.1-70B", "80 8192 28672 64 128256", kv_heads=8, context_tokens=131072),
    _model("Llama-3.1-405B", "126 16384 53248 128 128256", kv_heads=8, context_tokens=131072),
    _model("Qwen-1.8B", "24 2048 5504 16 151936", context_tokens=8192),
    _model("Qwen-7B", "32 4096 11008 32 151936", context_tokens=8192),
    _model("Qwen-14B", "40 5120 13696 40 152064", context_tokens=8192),
    _model("Qwen-72B", "80 8192 24576 64 152064", context_tokens=32768),
    _model("Qwen2.5-0.5B", "24 896 4864 14 151936", kv_heads=2, tied=True, context_tokens=32768),
    _model("Qwen2.5-1.5B", "28 1536 8960 12 151936", kv_heads=2, tied=True, context_tokens=32768),
    _model(
        "gemma-2-2b",
        "26 2304 9216 8 256000",
        kv_heads=4,
        head_width=256,
        tied=True,
        context_tokens=8192,
    ),
    _model("phi-1.5", "24 2048 8192 32 51200", gated=False, context_tokens=2048),
    _model("StableLM-alpha-3b", "16 4096 16384 32 50688", gated=False, context_tokens=4096),
    _model(
        "Falcon-40b",
        "60 8192 32768 128 65024",
        kv_heads=8,
        gated=False,
        tied=True,
        context_tokens=2048,
    ),
    _model("bloomz-7b1", "30 4096 16384 32 250880", gated=False, tied=True, context_tokens=2048),
    _model("T0_3B", "48 2048 5120 32 32128", head_width=64, cross_layers=24),
    _model("mt0-xxl", "48 4096 10240 64 250112", head_width=64, cross_layers=24),
)
KNOWN = {facts.name.lower(): facts for facts in _TABLE}

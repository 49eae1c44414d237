"""Bytes on one device, by part. Arithmetic over a model's shape; nothing is measured here.

    peak = weights + trained copies + gradients + optimiser + what the layers keep
           + the largest of the moments: loss, one layer's recomputation, the optimiser's step

The moments never meet, so their maximum counts and not their sum. Symbols: t tokens on the device
(batch × length), g bytes of a number, h width, f feed-forward width, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from steelyard.training.planner.facts import ModelFacts

Method = Literal["lora", "qlora", "full", "head", "serve"]
METHODS: dict[str, str] = {
    "lora": "adapters beside frozen weights",
    "qlora": "adapters beside weights in 4 bits",
    "full": "all weights",
    "head": "a linear head on frozen features",
    "serve": "answering, no training",
}

# Bytes of a parameter as it is stored. 4-bit: half a byte, and a scale for each block of 64 in
# 32 bits, or doubly quantised in 8 and a little (QLoRA, arXiv:2305.14314, section 3); GPTQ: a
# scale of 16 and a zero of 4 bits for each 128 (arXiv:2210.17323).
STORED_BYTES = {
    "fp32": 4.0,
    "bf16": 2.0,
    "int8": 1.0 + 2 / 128,
    "nf4": 0.5 + 4 / 64,
    "nf4-dq": 0.5 + 1 / 64 + 4 / 16384,
    "gptq": 0.5 + 2.5 / 128,
}
TRAINING = ("lora", "qlora", "full")
QUANTISED = ("int8", "nf4", "nf4-dq", "gptq")

# Hidden-width numbers that a layer keeps for each token. Source: fitcheck's
# 11 runs without checkpointing (README, "What these runs changed"); litgpt's tables give
# 13.8 to 15.1 for four models (docs/log/2026-11-26-planner.md).
KEPT_WIDTHS = 15
# Score matrices of attention that writes them out: kept by each layer, and at once in the layer
# that is differentiated. Source: fitcheck, same page.
KEPT_SCORES, LIVE_SCORES = 2.9, 9
# Numbers at the loss for each token and word: logits, their logarithms and the gradients of both.
# In 32 bits that is the 16 · t · V of EVIDENCE section 2.
LOSS_COPIES = 4
LOSS_CHUNKS = 8  # a fused or chunked loss holds one of these at a time. Source: torchtune's default
# A sharded optimiser steps over this many parameters at a time. Source: DeepSpeed's default of
# `sub_group_size`.
STEP_GROUP = 1_000_000_000
# Beside the tensors. The driver's context, and what the allocator loses to holes.
# Source: fitcheck measured 133 to 147 MiB and 7 % upwards on a T4; contexts of newer cards are
# larger. Ours: what judges all published rows right, see docs/log/2026-11-26-planner.md.
CONTEXT_BYTES = 500e6
HOLES_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is trained or served.

    `stored` is the type of the frozen weights; `rest_bytes` those of embeddings and norms beside a
    quantised base (peft makes them 32 bits wide). `trained_bits` is 32 where what is trained is
    kept in float32 (for full weights: mixed precision, a 16-bit copy beside it) and 16 where it is
    bfloat16 throughout. `optimiser`: Adam's two moments in the same type, in 8 bits, or paged to
    the machine's memory. `loss_bits`: transformers and autocast widen logits to 32, DeepSpeed's
    16-bit engines do not. `fused_loss`: logits are never held whole. `checkpoint_states`: two of a
    layer with transformers, one with torch's own checkpoints. `fused_attention`: the score matrix
    is never written out. `step_at_once`: gradients live until the optimiser's step.
    """

    method: Method
    seq: int
    batch: int = 1
    checkpointing: bool = False
    rank: int = 16
    targets: str = "all"
    stored: str = "bf16"
    rest_bytes: float = 4
    trained_bits: Literal[16, 32] = 32
    optimiser: Literal["adamw", "adamw-8bit", "paged"] = "adamw"
    loss_bits: Literal[16, 32] = 32
    fused_loss: bool = False
    checkpoint_states: int = 2
    fused_attention: bool = True
    trains_embeddings: bool = False
    step_at_once: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device: what is there all the time, and the moment that needs most."""

    parts: dict[str, float]
    moments: dict[str, float]
    overhead: float = field(default=0.0)

    @property
    def moment(self) -> str:
        """Which moment needs most."""
        return max(self.moments, key=lambda name: self.moments[name])

    @property
    def tensors(self) -> float:
        """What the framework counts as allocated at the worst moment."""
        return sum(self.parts.values()) + self.moments[self.moment]

    @property
    def total(self) -> float:
        """What the device must have."""
        return self.tensors + self.overhead


def memory(
    facts: ModelFacts,
    setup: Setup,
    *,
    devices: int = 1,
    stage: int = 0,
    context_bytes: float = CONTEXT_BYTES,
) -> Memory:
    """Bytes on each of `devices`, which share the optimiser's state (stage 1), the gradients too
    (2), and the weights too (3, FSDP). Stage 0 keeps all on each. Where there is nothing to train
    stage 3 is tensor parallelism: keys and values are shared with the weights.

    Source: ZeRO, arXiv:1910.02054, for what is shared; EVIDENCE section 2 for the rest.
    """
    shared = [devices if stage >= least else 1 for least in (3, 2, 1)]
    trained = trained_parameters(facts, setup)
    parts = {"weights": stored_bytes(facts, setup) / shared[0]}
    moments = {}
    if setup.method not in TRAINING:
        if setup.method == "serve":
            tokens = setup.batch * setup.seq
            parts["keys and values"] = tokens * facts.kv_bytes_per_token() / shared[0]
        moments["one layer"] = layer_bytes(facts, setup)
    else:
        copies, gradient, state, step = trained_bytes(setup)
        parts["trained copies"] = trained * copies / shared[0]
        parts["gradients"] = trained * gradient / shared[1]
        parts["optimiser"] = trained * state / shared[2]
        parts["activations"] = kept_bytes(facts, setup)
        moments |= _moments(facts, setup)
        own = trained / shared[2]
        moments["optimiser's step"] = step * (min(own, STEP_GROUP) if stage == 3 else own)
        moments["optimiser's step"] -= parts["activations"]  # they are gone by then
    if stage == 3 and devices > 1 and trained:
        # Two layers are whole at a time, the one at work and the one that is fetched; the
        # embeddings are one piece.
        each = STORED_BYTES[setup.stored]
        rest = min(2, setup.rest_bytes) if setup.stored in QUANTISED else each
        layers = 2 * facts.layer_parameters * each
        parts["gathered weights"] = max(layers, facts.embedding_parameters * rest)
    found = Memory({k: v for k, v in parts.items() if v}, moments)
    return Memory(found.parts, moments, context_bytes + HOLES_SHARE * found.tensors)


def trained_parameters(facts: ModelFacts, setup: Setup) -> int:
    """How many parameters the optimiser moves."""
    if setup.method == "full":
        return facts.parameters
    if setup.method in TRAINING:
        more = facts.embedding_parameters if setup.trains_embeddings else 0
        return facts.adapter_parameters(setup.rank, setup.targets) + more
    return 0


def stored_bytes(facts: ModelFacts, setup: Setup) -> float:
    """The weights that the passes read. Embeddings are not quantised."""
    each = STORED_BYTES[setup.stored]
    rest = setup.rest_bytes if setup.stored in QUANTISED else each
    return facts.matrix_parameters * each + facts.embedding_parameters * rest


def trained_bytes(setup: Setup) -> tuple[float, float, float, float]:
    """Bytes per trained parameter: copies beside the weights, gradient, optimiser, and for the
    moment of its step.

    Full weights in mixed precision: 2 (the weights) + 2 + 12 = 16, and at the step 8 more, for the
    gradients in 32 bits and Adam's root: frameworks measure 18 to 24. Adapters in float32: 4 + 4 +
    8 = 16. In bfloat16 throughout: 2 + 2 + 4 = 8.
    """
    number = setup.trained_bits / 8
    moments = {"adamw": 2 * number, "adamw-8bit": 2.0, "paged": 0.0}[setup.optimiser]
    step = number if setup.optimiser == "adamw" else 0.0
    if setup.method == "full":
        if setup.trained_bits == 32:
            return 0.0, 2.0, 4 + moments, 4 + step
        return 0.0, number if setup.step_at_once else 0.0, moments, step
    return number, number, moments, step


def layer_bytes(facts: ModelFacts, setup: Setup) -> float:
    """What one layer keeps for the way back, its attention scores left out.

    t·g·(15 h + m f): m counts what the feed-forward part keeps: three with a gate (before and
    after the activation, and the other factor), one without; and its last matrix keeps its input
    where it is learned, or where it is quantised (bitsandbytes keeps the input of every matrix).
    """
    learned = setup.method == "full" or (setup.method != "head" and setup.targets == "all")
    widths = KEPT_WIDTHS * facts.width
    number = (3 if facts.gated else 1) + (learned or setup.stored in QUANTISED)
    if setup.stored in QUANTISED:
        widths += facts.width  # the second norm's output, which a frozen matrix would let go
    return setup.batch * setup.seq * 2 * (widths + number * facts.ff_width)


def score_bytes(facts: ModelFacts, setup: Setup) -> float:
    """One score matrix of one layer, where attention writes it out; else nothing."""
    return 0.0 if setup.fused_attention else 2 * facts.heads * setup.batch * setup.seq**2


def kept_bytes(facts: ModelFacts, setup: Setup) -> float:
    """What all layers keep until the way back: everything, or with checkpointing a hidden state
    or two each (2·L·t·h·g)."""
    if setup.checkpointing:
        states = setup.checkpoint_states * facts.layers
        return states * setup.batch * setup.seq * facts.width * 2
    scores = KEPT_SCORES * score_bytes(facts, setup)
    return facts.layers * (layer_bytes(facts, setup) + scores)


def _moments(facts: ModelFacts, setup: Setup) -> dict[str, float]:
    logits = setup.batch * setup.seq * facts.vocabulary * setup.loss_bits / 8
    loss = LOSS_COPIES * logits
    moments = {"loss": loss / LOSS_CHUNKS if setup.fused_loss else loss}
    if setup.checkpointing:
        scores = LIVE_SCORES * score_bytes(facts, setup)
        moments["one layer again"] = layer_bytes(facts, setup) + scores
    return moments

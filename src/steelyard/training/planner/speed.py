"""How long it takes: floating-point operations, and the share of a peak that training reaches."""

from __future__ import annotations

from steelyard.training.planner.facts import ModelFacts
from steelyard.training.planner.memory import QUANTISED, Setup, trained_parameters

# What of the peak training reaches, recomputation counted as work. Source: Qwen's table
# (README, "Profiling of Memory and Speed", one A100): 33 to 53 % with 16-bit weights at 512 tokens
# and more, 35 to 45 % quantised; ours, a little under the middle.
SHARE_OF_PEAK = 0.40
SHARE_QUANTISED = 0.35


def forward_flops(facts: ModelFacts) -> float:
    """Of one token through the model: 2 N.

    An encoder-decoder sends a token through one of its halves: N.
    Source: T-Few, arXiv:2205.05638, section 4.2; Kaplan et al. 2020.
    """
    return (1 if facts.cross_layers else 2) * facts.parameters


def training_flops(facts: ModelFacts, setup: Setup) -> float:
    """Of one token of training: forward and twice that backward (6 N), with frozen weights 4 N and
    6 for each adapter's parameter; recomputation adds a forward pass.

    Source: EVIDENCE section 2.
    """
    forward = forward_flops(facts)
    if setup.method in ("serve", "head"):
        return forward
    if setup.method == "full":
        once = 3 * forward
    else:
        once = 2 * forward + 6 * trained_parameters(facts, setup)
    return once + (forward if setup.checkpointing else 0)


def share_of_peak(setup: Setup) -> float:
    return SHARE_QUANTISED if setup.stored in QUANTISED else SHARE_OF_PEAK

"""Base models behind one protocol."""

from steelyard.models import runtime
from steelyard.models.account import Account
from steelyard.models.base import (
    Backend,
    Embedder,
    Generation,
    LabelChoice,
    LabelScorer,
    LabelScores,
    Listen,
    Message,
    Prompt,
    Reader,
    Reading,
    Sampling,
    Token,
    TokenEmbedder,
    Writer,
)
from steelyard.models.opening import (
    check_embedder,
    check_model,
    check_quantising,
    embedder_of,
    open_backend,
    open_embedder,
    open_llama,
)
from steelyard.models.places import is_fake, locate

runtime.settle_waiting()  # here, because it must come before torch

__all__ = [
    "Account",
    "Backend",
    "Embedder",
    "Generation",
    "LabelChoice",
    "LabelScorer",
    "LabelScores",
    "Listen",
    "Message",
    "Prompt",
    "Reader",
    "Reading",
    "Sampling",
    "Token",
    "TokenEmbedder",
    "Writer",
    "check_embedder",
    "check_model",
    "check_quantising",
    "embedder_of",
    "is_fake",
    "locate",
    "open_backend",
    "open_embedder",
    "open_llama",
]

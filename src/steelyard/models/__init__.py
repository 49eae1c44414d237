"""Base models behind one protocol."""

from steelyard.models.base import (
    Backend,
    Embedder,
    Generation,
    LabelChoice,
    LabelScores,
    Message,
    Prompt,
    Sampling,
    TokenEmbedder,
)
from steelyard.models.opening import check_embedder, check_model, open_backend, open_embedder

__all__ = [
    "Backend",
    "Embedder",
    "Generation",
    "LabelChoice",
    "LabelScores",
    "Message",
    "Prompt",
    "Sampling",
    "TokenEmbedder",
    "check_embedder",
    "check_model",
    "open_backend",
    "open_embedder",
]

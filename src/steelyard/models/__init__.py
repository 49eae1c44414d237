"""Base models behind one protocol."""

from steelyard.models import runtime
from steelyard.models.base import (
    Backend,
    Embedder,
    Generation,
    LabelChoice,
    LabelScores,
    Listen,
    Message,
    Prompt,
    Reader,
    Reading,
    Sampling,
    Token,
    TokenEmbedder,
)
from steelyard.models.chat_url import UrlWriter, Writer
from steelyard.models.opening import (
    check_embedder,
    check_model,
    check_quantising,
    is_fake,
    locate,
    open_backend,
    open_embedder,
)

runtime.settle_waiting()  # here, because it must come before torch

__all__ = [
    "Backend",
    "Embedder",
    "Generation",
    "LabelChoice",
    "LabelScores",
    "Listen",
    "Message",
    "Prompt",
    "Reader",
    "Reading",
    "Sampling",
    "Token",
    "TokenEmbedder",
    "UrlWriter",
    "Writer",
    "check_embedder",
    "check_model",
    "check_quantising",
    "is_fake",
    "locate",
    "open_backend",
    "open_embedder",
]

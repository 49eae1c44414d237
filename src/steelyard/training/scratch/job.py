"""What the training child is told: documents, minutes, and perhaps a size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from steelyard.core import Limits, digest

CORPUS_FILE = "corpus.json"
COURSE_FILE = "course.json"  # what the child chose


@dataclass(frozen=True, slots=True)
class ScratchJob:
    """Everything that decides the weights, but for the speed of the machine.

    `held_out` are documents that nothing is learned from. Without `layers` the minutes set them.
    """

    documents: tuple[str, ...]
    held_out: tuple[str, ...]
    minutes: float
    layers: int | None
    seed: int
    memory_gb: float = Limits().memory_gb

    @property
    def key(self) -> str:
        return digest(asdict(self))

    def write(self, folder: Path) -> None:
        """Write the job so that `read` gives it back."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), ensure_ascii=False)
        (folder / CORPUS_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ScratchJob:
        plain = json.loads((folder / CORPUS_FILE).read_text(encoding="utf-8"))
        texts = {name: tuple(plain[name]) for name in ("documents", "held_out")}
        return cls(**{**plain, **texts})


def corpus_bytes(texts: Sequence[str]) -> int:
    """UTF-8 bytes of all texts together."""
    return sum(len(text.encode()) for text in texts)

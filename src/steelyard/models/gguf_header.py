"""The beginning of a .gguf file: what it says of its model, and the names of its tensors.

The gguf package makes an array of every word of the vocabulary, which takes seconds; here they are
stepped over.

Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

# The numbers of a value's types: how struct reads them.
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Header:
    """`values` holds what is said, arrays of numbers as tuples; `lengths` how long each array is,
    those of texts included."""

    values: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: list[str] = field(default_factory=list)


def read_header(path: Path) -> Header:
    """What a .gguf file says before its weights.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no .gguf file of these versions, or it ends too early.
    """
    header = Header()
    with path.open("rb") as file:
        read = _Reader(file, os.fstat(file.fileno()).st_size)
        magic, version = read.bytes(4), read.scalar("I")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"it begins with {magic!r}, version {version}")
        num_tensors, num_values = read.scalar("Q"), read.scalar("Q")
        for _ in range(num_values):
            name, kind = read.text(), read.scalar("I")
            if kind == ARRAY:
                of, header.lengths[name] = read.scalar("I"), read.scalar("Q")
                numbers = read.array(of, header.lengths[name])
                if numbers is not None:
                    header.values[name] = numbers
            else:
                header.values[name] = read.text() if kind == STRING else read.scalar(_format(kind))
        for _ in range(num_tensors):
            header.tensors.append(read.text())
            read.skip(8 * read.scalar("I") + 12)  # its shape, its type, its place
    return header


def _format(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"a value has the type {kind}")
    return SCALARS[kind]


class _Reader:
    """Reads one thing after the other and never more than there is."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.left = file, size

    def bytes(self, count: int) -> bytes:
        self._take(count)
        return self.file.read(count)

    def skip(self, count: int) -> None:
        self._take(count)
        self.file.seek(count, os.SEEK_CUR)

    def scalar(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.bytes(struct.calcsize(kind)))[0]

    def text(self) -> str:
        return self.bytes(self.scalar("Q")).decode(errors="replace")

    def array(self, kind: int, length: int) -> tuple[Any, ...] | None:
        """Its numbers; None of an array of texts, which is stepped over."""
        if kind == STRING:
            for _ in range(length):
                self.skip(self.scalar("Q"))
            return None
        one = _format(kind)
        return struct.unpack(f"<{length}{one}", self.bytes(length * struct.calcsize(one)))

    def _take(self, count: int) -> None:
        if count > self.left:
            raise ValueError("it ends in the middle of its header")
        self.left -= count

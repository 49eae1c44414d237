"""Bytes → text: which encoding it is, that it is text at all, and one kind of line end."""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path
from typing import BinaryIO, TextIO

from steelyard.errors import DataError
from steelyard.knowledge.reading.source import Source, tidy

CHUNK_BYTES = 1 << 20
# Control characters that text does not hold. Escape stays out: terminal logs are text.
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b"))
_HIGH_PAIR = re.compile(b"[\x80-\xff](?=[\x80-\xff])")
_HIGH = bytes(range(128, 256))
# Source: ours. Random bytes have 1 control character in 9, compressed files too.
MOST_CONTROLS = 0.01
# The share of bytes above 127 that have another one behind them. Source: ours. In French and
# German it is below 0.1; in UTF-8 with a wrong byte at least 0.5, and in Russian or Japanese of an
# 8-bit encoding, which would be nonsense as Windows-1252, near 0.8.
MOST_PAIRS = 0.3
_BOMS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = ((b"%PDF-", ".pdf"), (b"PK\x03\x04", ".docx"))


def read_text(source: Source, *, declared: re.Pattern[bytes] | None = None) -> str:
    """The tidy text of a whole file. `declared` finds an encoding that the file itself names.

    Raises:
        DataError: it is not text, or longer than the limit.
    """
    # Four bytes are the most that one character takes, and the byte order mark.
    if source.path.stat().st_size > 4 * source.limits.characters + 4:
        raise source.too_long()
    data = source.path.read_bytes()
    named = declared.search(data[:CHUNK_BYTES]) if declared else None
    encoding = encoding_of(io.BytesIO(data), named.group(1).decode() if named else None)
    return tidy(data.decode(encoding))


def open_text(path: Path) -> TextIO:
    """A file of rows as text, its line ends untouched.

    Raises:
        DataError: it is not text.
    """
    with path.open("rb") as file:
        encoding = encoding_of(file)
    return path.open(encoding=encoding, newline="")


def encoding_of(file: BinaryIO, declared: str | None = None) -> str:
    """The encoding of a file: by its byte order mark, UTF-8, `declared`, or Windows-1252.

    The whole file is looked at, a chunk at a time.

    Raises:
        DataError: it is binary, or in none of these encodings.
    """
    start = file.read(4)
    file.seek(0)
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            if not _decodes(file, encoding):
                raise _binary(start, f"it begins like {encoding.upper()} and is not")
            return encoding
    size, controls, utf8_wrong_at = 0, 0, -1
    decoder = codecs.getincrementaldecoder("utf-8")()
    while chunk := file.read(CHUNK_BYTES):
        if (zero := chunk.find(0)) >= 0:
            raise _binary(start, f"byte {size + zero:,} is zero")
        controls += len(chunk) - len(chunk.translate(None, _CONTROLS))
        if utf8_wrong_at < 0:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                utf8_wrong_at = size + error.start
        size += len(chunk)
    if controls > MOST_CONTROLS * size:
        raise _binary(start, f"{controls:,} of its {size:,} bytes are control characters")
    if utf8_wrong_at < 0 and not decoder.getstate()[0]:
        return "utf-8"
    if declared is not None and _decodes(file, declared):
        return declared
    if _is_western(file) and _decodes(file, "cp1252"):
        return "cp1252"
    at = utf8_wrong_at if utf8_wrong_at >= 0 else size - len(decoder.getstate()[0])
    raise DataError(
        f"it is not UTF-8 (the first wrong byte is number {max(at, 0):,}) and does not look like "
        "text in Windows-1252. Save it as UTF-8."
    )


def _decodes(file: BinaryIO, encoding: str) -> bool:
    """Whether the whole file is in this encoding, and text."""
    file.seek(0)
    try:
        "a".encode(encoding)  # "hex" and the like are codecs too, but none of text
        decoder = codecs.getincrementaldecoder(encoding)()
        while chunk := file.read(CHUNK_BYTES):
            if "\0" in decoder.decode(chunk):
                return False
        decoder.decode(b"", final=True)
    except (LookupError, ValueError):
        return False
    return True


def _is_western(file: BinaryIO) -> bool:
    """Whether letters beyond ASCII stand one by one between others, as in European languages."""
    file.seek(0)
    high = pairs = 0
    while chunk := file.read(CHUNK_BYTES):
        high += len(chunk) - len(chunk.translate(None, _HIGH))
        pairs += sum(1 for _ in _HIGH_PAIR.finditer(chunk))
    return pairs <= MOST_PAIRS * high


def _binary(start: bytes, why: str) -> DataError:
    for magic, suffix in _MAGIC:
        if start.startswith(magic[:4]):
            return DataError(f"it looks like a {suffix} file by its first bytes. Name it so.")
    return DataError(
        f"it is binary, not text ({why}). Name it by the type it has; text in UTF-16 needs its "
        "byte order mark."
    )

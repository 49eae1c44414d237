"""Bytes → text: which encoding it is, that it is text at all, and one kind of line end."""

from __future__ import annotations

import codecs
import io
import re
from typing import BinaryIO, TextIO

from steelyard.errors import DataError
from steelyard.knowledge.reading.source import Source, tidy

CHUNK_BYTES = 1 << 20
# Control characters that text does not hold. Escape stays out: terminal logs are text.
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b"))
_HIGH = bytes(range(128, 256))
# Source: ours. Random bytes have 1 control character in 9, compressed files too.
MOST_CONTROLS = 0.01
# Source: ours. French and German prose stay below 0.1; Cyrillic or Japanese in an 8-bit
# encoding goes above 0.5 and would be nonsense as Windows-1252.
MOST_HIGH = 0.3
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
    with source.path.open("rb") as file:
        # Four bytes are the most that one character takes, in every encoding known here.
        data = file.read(4 * source.limits.characters + 5)
    if len(data) > 4 * source.limits.characters + 4:
        raise source.too_long()
    named = declared.search(data[:CHUNK_BYTES]) if declared else None
    encoding = encoding_of(io.BytesIO(data), named.group(1).decode() if named else None)
    text = data.decode(encoding)
    if "\0" in text:  # UTF-16 by its mark alone
        raise _binary(data, "its characters hold zeros")
    return tidy(text)


def open_text(file: BinaryIO) -> TextIO:
    """A file of rows as text, its line ends untouched.

    Raises:
        DataError: it is not text.
    """
    encoding = encoding_of(file)
    file.seek(0)
    return io.TextIOWrapper(file, encoding, newline="")


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
            return encoding
    size, controls, high, utf8_wrong_at = 0, 0, 0, -1
    decoder = codecs.getincrementaldecoder("utf-8")()
    while chunk := file.read(CHUNK_BYTES):
        if (zero := chunk.find(0)) >= 0:
            raise _binary(start, f"byte {size + zero:,} is zero")
        controls += len(chunk) - len(chunk.translate(None, _CONTROLS))
        high += len(chunk) - len(chunk.translate(None, _HIGH))
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
    if high <= MOST_HIGH * size and not _is_damaged_utf8(file) and _decodes(file, "cp1252"):
        return "cp1252"
    at = utf8_wrong_at if utf8_wrong_at >= 0 else size - len(decoder.getstate()[0])
    raise DataError(
        f"it is not UTF-8 (the first wrong byte is number {max(at, 0):,}) and does not look like "
        "text in Windows-1252. Save it as UTF-8."
    )


def _decodes(file: BinaryIO, encoding: str) -> bool:
    file.seek(0)
    try:
        b"".decode(encoding)  # "hex" and the like are codecs too, but none of text
        decoder = codecs.getincrementaldecoder(encoding)()
        while chunk := file.read(CHUNK_BYTES):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except (LookupError, ValueError):
        return False
    return True


def _is_damaged_utf8(file: BinaryIO) -> bool:
    """Whether most of what is not ASCII is UTF-8 all the same."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    right = wrong = 0
    while chunk := file.read(CHUNK_BYTES):
        text = decoder.decode(chunk)
        replaced = text.count("\ufffd")
        wrong += replaced
        right += len(text) - len(text.encode("ascii", "ignore")) - replaced
    return right > wrong


def _binary(start: bytes, why: str) -> DataError:
    for magic, suffix in _MAGIC:
        if start.startswith(magic[:4]):
            return DataError(f"it looks like a {suffix} file by its first bytes. Name it so.")
    return DataError(
        f"it is binary, not text ({why}). Name it by the type it has; text in UTF-16 needs its "
        "byte order mark."
    )

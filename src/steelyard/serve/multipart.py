"""Forms with a file (multipart/form-data), read as they come: the file goes straight to disk.

    --B␍␊Content-Disposition: form-data; name="purpose"␍␊␍␊fine-tune␍␊
    --B␍␊Content-Disposition: form-data; name="file"; filename="a.jsonl"␍␊␍␊…␍␊--B--
        → fields {"purpose": "fine-tune"}, and the file's name; its bytes were written on the way

Source: RFC 7578, and RFC 2046 section 5.1.1 for the lines between parts.
"""

from __future__ import annotations

from email.message import Message
from email.parser import HeaderParser
from typing import BinaryIO

from steelyard.errors import RequestError

MOST_FIELDS = 20
MAX_FIELD_BYTES = 64_000
MAX_HEADER_BYTES = 8_000  # of one part
MAX_BOUNDARY_CHARACTERS = 70  # Source: RFC 2046
FILE = "file"  # the one field that may hold a file


def boundary_of(content_type: str) -> bytes:
    """The text between the parts of a form, from its Content-Type.

    >>> boundary_of('multipart/form-data; boundary="a b"')
    b'a b'

    Raises:
        RequestError: it is no such form.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    is_form = header.get_content_type() == "multipart/form-data" and isinstance(boundary, str)
    if not is_form or not 0 < len(str(boundary)) <= MAX_BOUNDARY_CHARACTERS:
        raise malformed("expected multipart/form-data with a boundary")
    return str(boundary).encode("latin-1", "replace")


def malformed(why: str) -> RequestError:
    """A form that cannot be read."""
    return RequestError(f"the form cannot be read: {why}", code="invalid_form")


class Form:
    """A form on its way in: `feed` what comes, then `end`.

    `fields` are the texts of its parts, `file_name` is what the sender calls the file, None until
    one came. What is fed may be cut anywhere.
    """

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self._between = b"\r\n--" + boundary
        self._file = file
        self._left = b"\r\n"  # so that the first line is like the others
        self._name: str | None = None  # of the part that is being read; None: before the first
        self._field = b""
        self._headers = False
        self._done = False

    def feed(self, data: bytes) -> None:
        """Read more of it.

        Raises:
            RequestError: it is no form, or more than it may be.
        """
        self._left += data
        while not self._done and (self._read_headers() if self._headers else self._read_part()):
            pass
        if self._done:
            self._left = b""

    def end(self) -> None:
        """All has come.

        Raises:
            RequestError: it was not whole, or had no file.
        """
        if not self._done:
            raise malformed("it ends before its last line")
        if self.file_name is None:
            raise RequestError("a file is expected", code="missing_required_parameter", param=FILE)

    def _read_part(self) -> bool:
        """Take what belongs to the part; whether there is more to be read now."""
        place = self._left.find(self._between)
        if place < 0:
            kept = len(self._between) - 1
            self._take(self._left[:-kept])
            self._left = self._left[-kept:]
            return False
        self._take(self._left[:place])
        after = self._left[place + len(self._between) :]
        line_end = after.find(b"\r\n")
        if after[:2] == b"--":
            self._close_part()
            self._done = True
            return True
        if line_end < 0:
            if len(after) > MAX_HEADER_BYTES:
                raise malformed("a line between two parts does not end")
            self._left = self._left[place:]
            return False
        if after[:line_end].strip(b" \t"):
            raise malformed("a line between two parts holds something else")
        self._close_part()
        self._left, self._headers = after[line_end:], True
        return True

    def _read_headers(self) -> bool:
        """Begin a part; its headers follow a line end and end with an empty line."""
        place = self._left.find(b"\r\n\r\n")
        if place < 0 or place > MAX_HEADER_BYTES:
            if len(self._left) > MAX_HEADER_BYTES:
                raise malformed("the headers of a part are too long")
            return False
        headers = HeaderParser().parsestr(self._left[2:place].decode("utf-8", "replace"))
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise malformed("a part has no name")
        given = headers.get_filename()
        self._begin_part(name, given)
        self._left, self._headers = self._left[place + 4 :], False
        return True

    def _begin_part(self, name: str, file_name: str | None) -> None:
        is_file = name == FILE
        if is_file != (file_name is not None):
            what = "is a file" if is_file else "is no file"
            raise RequestError(
                f"{name[:40]} {what} in this form", code="invalid_type", param=name[:40]
            )
        if name in self.fields or (is_file and self.file_name is not None):
            raise malformed(f"{name[:40]} is there twice")
        if len(self.fields) >= MOST_FIELDS:
            raise malformed(f"it has more than {MOST_FIELDS} fields")
        self._name, self._field = name, b""
        if is_file:
            self.file_name = file_name

    def _take(self, data: bytes) -> None:
        """Bytes of the part that is being read; what stands before the first is nothing."""
        if self._name == FILE:
            self._file.write(data)
        elif self._name is not None:
            self._field += data
            if len(self._field) > MAX_FIELD_BYTES:
                raise malformed(f"{self._name[:40]} is longer than {MAX_FIELD_BYTES} bytes")

    def _close_part(self) -> None:
        if self._name not in (None, FILE):
            assert self._name is not None
            self.fields[self._name] = self._field.decode("utf-8", "replace")

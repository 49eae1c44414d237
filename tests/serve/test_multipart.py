"""Forms with a file: however they are cut on their way, what comes out is what was sent."""

from __future__ import annotations

import doctest
import io
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import RequestError
from steelyard.serve import filters, multipart
from steelyard.serve.multipart import MAX_FIELD_BYTES, MOST_FIELDS, Form, boundary_of

CONTENTS = st.binary(max_size=60) | st.text("\r\n-B", max_size=40).map(str.encode)


@pytest.mark.parametrize("module", [multipart, filters])
def test_the_examples_in_docstrings_are_true(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def read(body: bytes, boundary: bytes = b"B", cuts: Any = ()) -> tuple[dict[str, str], Any, bytes]:
    """The fields, the file's name and its bytes of a form that comes in pieces."""
    file = io.BytesIO()
    form = Form(boundary, file)
    places = [0, *sorted({min(cut, len(body)) for cut in cuts}), len(body)]
    for start, end in pairwise(places):
        form.feed(body[start:end])
    form.end()
    return form.fields, form.file_name, file.getvalue()


def part(name: str, content: bytes, more: str = "") -> bytes:
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


FILE = part("file", b"x", '; filename="a.txt"')


@given(CONTENTS, st.text(max_size=20), st.lists(st.integers(0, 500), max_size=8), st.booleans())
def test_a_form_of_the_client_is_read_wherever_it_is_cut(content, purpose, cuts, file_first):
    """What writes it is what OpenAI's client writes forms with."""
    parts = [("purpose", (None, purpose)), ("file", ('räder "1".jsonl', content))]
    sent = httpx2.Request("POST", "http://x", files=parts[::-1] if file_first else parts)
    found = read(sent.read(), boundary_of(sent.headers["content-type"]), cuts)
    assert found == ({"purpose": purpose}, found[1], content)
    assert found[1].endswith(".jsonl")


def test_lines_before_between_and_after_parts_are_no_part_of_them():
    body = b"before\r\n" + part("a", b"1\r\n--").replace(b"--B\r\n", b"--B \t\r\n", 1) + FILE
    for cut in range(len(body) + 5):
        assert read(body + b"--B--\r\nafter", cuts=[cut]) == ({"a": "1\r\n--"}, "a.txt", b"x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends before its last line"),
        (FILE, "ends before its last line"),
        (FILE[:-4] + b"--", "ends before its last line"),
        (b"--B--", "a file is expected"),
        (part("a", b"1") + b"--B--", "a file is expected"),
        (FILE + FILE + b"--B--", "file is there twice"),
        (part("a", b"1") * 2 + b"--B--", "a is there twice"),
        (part("file", b"1") + b"--B--", "file is a file"),
        (part("a", b"1", '; filename="b"') + b"--B--", "a is no file"),
        (b"--Bx\r\n\r\n\r\n--B--", "something else"),
        (b"--B\r\n\r\nx\r\n--B--", "a part has no name"),
        (b"--B\r\nA: " + b"x" * 9_000, "headers of a part are too long"),
        (b"--B" + b" " * 9_000, "does not end"),
        (part("a", b"x" * (MAX_FIELD_BYTES + 100)), "longer than"),
        (b"".join(part(f"f{n}", b"") for n in range(MOST_FIELDS + 1)), "more than"),
    ],
)
def test_what_is_no_such_form_is_refused(body, said):
    with pytest.raises(RequestError, match=said):
        read(body)


@given(st.binary(max_size=200) | st.text('-B\r\n:;="aname', max_size=80).map(str.encode))
def test_whatever_comes_is_read_or_refused(body):
    try:
        fields, name, _ = read(body)
    except RequestError as error:
        fields, name = {"refused": error.code or ""}, ""
    assert name is not None
    assert all(isinstance(value, str) for value in fields.values())


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 71],
)
def test_a_content_type_without_a_boundary_is_refused(kind):
    with pytest.raises(RequestError, match="multipart/form-data with a boundary"):
        boundary_of(kind)

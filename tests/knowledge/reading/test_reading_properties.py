"""Whatever the bytes are: documents or a reason, and every offset points at what it names."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import W, docx, pdf, read

from steelyard.knowledge.reading import Document, ReadingLimits
from steelyard.knowledge.reading.formats import READERS
from steelyard.knowledge.reading.other import SUFFIXES

OURS = sorted(set(READERS) - set(SUFFIXES))
TAGS = ["h1", "h2", "p", "table", "tr", "td", "li", "pre", "nav", "title", "script", "br", "div"]
html = st.lists(
    st.one_of(
        st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS]),
        st.text(st.sampled_from("ab \n\t&<>!¶\xa0\x1f"), max_size=6),
    ),
    max_size=30,
).map("".join)
markup = st.lists(
    st.one_of(
        st.sampled_from(["# ", "## ", "===", "---", "~~~~", "\n", "\n\n", "Title", "```", "\r\n"]),
        st.text(st.sampled_from("ab #=-~*.\t\n\x0c\x85\u2028"), max_size=6),
    ),
    max_size=30,
).map("".join)
words = {"p", "r", "t", "tbl", "tr", "tc", "tab", "br"}
docx_body = st.recursive(
    st.text(string.ascii_letters + " \t\n", max_size=8),
    lambda inside: st.builds(
        lambda name, parts: f"<w:{name}>{''.join(parts)}</w:{name}>",
        st.sampled_from(sorted(words)),
        st.lists(inside, max_size=4),
    ),
    max_leaves=20,
)


def check(document: Document) -> None:
    text = document.text
    assert text.strip()
    assert "\r" not in text
    assert "\0" not in text
    text.encode()
    assert document.id
    for heading in document.headings:
        assert heading.level >= 1
        assert heading.title.strip()
        assert text.startswith(heading.title, heading.start)
    starts = [heading.start for heading in document.headings]
    assert starts == sorted(starts)
    assert all(0 <= page <= len(text) for page in document.pages)
    assert list(document.pages) == sorted(document.pages)
    assert Document.from_json(document.to_json()) == document


def read_and_check(name: str, content: bytes | str) -> tuple[list[Document], str | None]:
    with tempfile.TemporaryDirectory() as folder:
        documents, reason = read(Path(folder) / name, content, ReadingLimits(characters=5000))
    assert documents or reason
    for document in documents:
        check(document)
    return documents, reason


@pytest.mark.parametrize("suffix", OURS)
@settings(max_examples=40)
@given(content=st.one_of(st.binary(max_size=400), st.text(max_size=200).map(str.encode)))
def test_any_bytes_give_documents_or_a_reason(suffix, content):
    read_and_check(f"a{suffix}", content)


@settings(max_examples=150)
@given(content=markup)
def test_the_headings_of_any_markup_stand_where_they_say(content):
    read_and_check("a.md", content)
    read_and_check("a.rst", content)


@settings(max_examples=200)
@given(content=html)
def test_the_headings_of_any_html_stand_where_they_say(content):
    read_and_check("a.html", content)


@settings(max_examples=60)
@given(body=docx_body)
def test_any_docx_gives_a_document_or_a_reason(body):
    _, reason = read_and_check("a.docx", docx(body))
    assert reason is None or "no text" in reason


@settings(max_examples=60)
@given(place=st.integers(0, 1200), byte=st.integers(0, 255))
def test_a_pdf_with_a_wrong_byte_gives_a_document_or_a_reason(place, byte):
    made = bytearray(pdf(["Intro", "", "Words"], outline=[("Intro", 0), ("Words", 2)]))
    made[place % len(made)] = byte
    read_and_check("a.pdf", bytes(made))


@settings(max_examples=60)
@given(place=st.integers(0, 1200), byte=st.integers(0, 255))
def test_a_docx_with_a_wrong_byte_gives_a_document_or_a_reason(place, byte):
    made = bytearray(docx(f"<w:p><w:r><w:t {W}>Words</w:t></w:r></w:p>"))
    made[place % len(made)] = byte
    read_and_check("a.docx", bytes(made))


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(["a", "Text", "1", "", " ", '"', "é"]), max_size=4)),
    st.sampled_from([",", ";", "\t"]),
)
def test_any_csv_gives_rows_or_a_reason(rows, separator):
    read_and_check("a.csv", "\n".join(separator.join(row) for row in rows) + "\n")

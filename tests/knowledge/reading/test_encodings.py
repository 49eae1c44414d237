"""Bytes that are text, in which encoding, and bytes that are not."""

from __future__ import annotations

import codecs
import random

import pytest
from made_files import only, read

from steelyard.knowledge.reading import ReadingLimits

TEXT = "Grüße aus Łódź — naïve café\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
)
def test_unicode_is_known_by_its_mark_or_is_utf8(tmp_path, data):
    assert only(tmp_path / "a.txt", data).text == TEXT


def test_western_text_in_windows_1252_is_read(tmp_path):
    text = "Der Schlüssel liegt im Café – „hier“."
    assert only(tmp_path / "a.txt", text.encode("cp1252")).text == text


@pytest.mark.parametrize(("text", "encoding"), [("Привет, мир", "cp1251"), ("日本語です", "sjis")])
def test_other_8_bit_encodings_are_told_and_not_read_as_nonsense(tmp_path, text, encoding):
    documents, reason = read(tmp_path / "a.txt", text.encode(encoding) * 5)
    assert documents == []
    assert "Save it as UTF-8" in str(reason)


def test_one_wrong_byte_in_utf8_is_told_with_its_place(tmp_path):
    data = ("äöü" * 10).encode() + b"\xff" + ("äöü" * 10).encode()
    documents, reason = read(tmp_path / "a.txt", data)
    assert documents == []
    assert "the first wrong byte is number 60" in str(reason)


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x02\x01\x01\x00\x00",
        random.Random(0).randbytes(5000).replace(b"\0", b"\1"),
        b"text with \0 in it",
        codecs.BOM_UTF16_LE + b"a\0\0\0b\0",
    ],
)
def test_a_binary_renamed_to_txt_is_told(tmp_path, data):
    for name in ("a.txt", "a.md", "a.html", "a.csv", "a.jsonl", "README"):
        documents, reason = read(tmp_path / name, data)
        assert documents == [], name
        assert "binary" in str(reason), name


def test_a_pdf_renamed_to_txt_is_told_to_be_one(tmp_path):
    _, reason = read(tmp_path / "a.txt", b"%PDF-1.7\n\0\1\2")
    assert reason == "it looks like a .pdf file by its first bytes. Name it so."


def test_line_ends_become_one_kind_and_control_characters_spaces(tmp_path):
    assert only(tmp_path / "a.txt", b"a\r\nb\rc\n\x1b[1md\x0ce" + b"." * 100).text.startswith(
        "a\nb\nc\n [1md\ne."
    )


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", codecs.BOM_UTF8])
def test_an_empty_document_is_told(tmp_path, content):
    for name in ("a.txt", "a.md", "a.rst", "a.html", "a.csv", "a.jsonl"):
        documents, reason = read(tmp_path / name, content)
        assert documents == [], name
        assert "Remove" in str(reason) or "Add" in str(reason), name


def test_one_long_line_goes_over_the_limit_of_its_characters(tmp_path):
    limits = ReadingLimits(characters=1000)
    fits, reason = read(tmp_path / "a.txt", "x" * 1000, limits)
    assert len(fits[0].text) == 1000
    assert reason is None
    for length in (1001, 50_000):
        documents, reason = read(tmp_path / "a.txt", "x" * length, limits)
        assert documents == []
        assert "more than 1,000 characters" in str(reason)

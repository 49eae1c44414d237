"""PDF: pages and their places, the outline; what is encrypted, broken or a picture is told."""

from __future__ import annotations

import io
import zlib

import pytest
from made_files import PICTURE, only, pdf, read
from pypdf import PdfReader, PdfWriter

from steelyard.knowledge.reading import ReadingLimits


def encrypted(password: str, owner: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(["Secret words"]))))
    writer.encrypt(password, owner, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pages_are_kept_with_the_place_where_they_begin(tmp_path):
    document = only(tmp_path / "a.pdf", pdf(["First page", "", "Third (page)"]))
    assert document.text == "First page\n\nThird (page)"
    assert document.pages == (0, 10, 12)
    assert (document.title, document.format) == ("a", "pdf")


def test_the_outline_gives_headings_where_their_words_stand(tmp_path):
    made = pdf(
        ["Intro text", "Rules", "Rules again"],
        outline=[("Intro", 0), ("Not there", 1), ("Rules", 2)],
    )
    document = only(tmp_path / "a.pdf", made)
    assert document.text == "Intro text\n\nRules\n\nRules again"
    assert document.headings == ((1, "Intro", 0), (1, "Rules", 19))


def test_an_encrypted_pdf_is_told(tmp_path):
    documents, reason = read(tmp_path / "a.pdf", encrypted("secret", "owner"))
    assert documents == []
    assert reason == "it is encrypted. Save it without a password."


def test_a_pdf_encrypted_with_no_password_is_read(tmp_path):
    assert only(tmp_path / "a.pdf", encrypted("", "owner")).text == "Secret words"


def test_an_image_only_pdf_is_told_to_be_one(tmp_path):
    documents, reason = read(tmp_path / "a.pdf", pdf([PICTURE, PICTURE]))
    assert documents == []
    assert "its 2 pages hold only pictures" in str(reason)
    assert "OCR" in str(reason)


def test_a_pdf_of_empty_pages_is_told(tmp_path):
    documents, reason = read(tmp_path / "a.pdf", pdf([""]))
    assert documents == []
    assert "its 1 pages are empty" in str(reason)


def test_pages_that_are_pictures_are_told_beside_the_others(tmp_path):
    documents, reason = read(tmp_path / "a.pdf", pdf(["Words", PICTURE, "More", PICTURE]))
    assert documents[0].text == "Words\n\nMore"
    assert "of its 4 pages some were not read. 2, 4 hold pictures" in str(reason)


@pytest.mark.parametrize("cut", [0, 8, 60, 300])
def test_a_broken_pdf_is_told(tmp_path, cut):
    documents, reason = read(tmp_path / "a.pdf", pdf(["Words"])[:cut])
    assert documents == []
    assert reason


def test_a_bomb_in_a_stream_is_told_or_cut_and_never_unpacked(tmp_path):
    bomb = zlib.compress(zlib.compress(b"\0" * 90_000_000, 9), 9)
    made = pdf(["Words"])
    start = made.index(b"<< /Length", made.index(b"/Contents"))
    end = made.index(b"endobj", start)
    stream = b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream\n" % (
        len(bomb),
        bomb,
    )
    documents, reason = read(tmp_path / "a.pdf", made[:start] + stream + made[end:])
    assert documents == []
    assert reason


def test_text_over_the_limit_is_told(tmp_path):
    made = pdf(["Ten chars."] * 20)
    _, reason = read(tmp_path / "a.pdf", made, ReadingLimits(characters=100))
    assert "more than 100 characters" in str(reason)

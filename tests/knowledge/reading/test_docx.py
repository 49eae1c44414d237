"""DOCX: headings and tables; bombs and entities refused."""

from __future__ import annotations

import io
import zipfile

import pytest
from made_files import W, docx, only, paragraph, read

from steelyard.knowledge.reading import ReadingLimits
from steelyard.knowledge.reading import docx as module


def cell(text: str) -> str:
    return f"<w:tc>{paragraph(text)}</w:tc>"


def test_headings_by_the_name_of_their_style_tables_as_rows(tmp_path):
    body = (
        paragraph("Chapter", "berschrift1")
        + "<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr><w:r><w:t>One</w:t><w:tab/>"
        "<w:t xml:space='preserve'>two </w:t><w:br/><w:t>three</w:t></w:r></w:p>"
        + f"<w:tbl><w:tr>{cell('a')}{cell('b')}</w:tr><w:tr>{cell('1')}{cell('')}</w:tr>"
        + f"<w:tr>{cell('')}</w:tr></w:tbl>"
        + paragraph("Part", "berschrift2")
        + paragraph("")
        + paragraph("End", "Normal")
    )
    document = only(tmp_path / "a.docx", docx(body, title="My title"))
    assert document.text == "Chapter\n\nOne\ttwo \nthree\n\na | b\n1 |\n\nPart\n\nEnd"
    assert document.headings == ((1, "Chapter", 0), (2, "Part", document.text.index("Part")))
    assert (document.title, document.format) == ("My title", "docx")


def test_a_table_in_a_cell_is_lines_of_the_cell(tmp_path):
    inner = f"<w:tbl><w:tr>{cell('x')}{cell('y')}</w:tr></w:tbl>"
    body = f"<w:tbl><w:tr><w:tc>{paragraph('a')}{inner}</w:tc>{cell('b')}</w:tr></w:tbl>"
    assert only(tmp_path / "a.docx", docx(body)).text == "a\nx | y | b"


def test_what_is_spelled_twice_or_was_moved_away_is_read_once(tmp_path):
    body = (
        "<w:p><w:r><w:t>new</w:t></w:r><w:Fallback><w:r><w:t>old</w:t></w:r></w:Fallback>"
        "<w:moveFrom><w:r><w:t>away</w:t></w:r></w:moveFrom>"
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    )
    assert only(tmp_path / "a.docx", docx(body)).text == "new"


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE x [<!ENTITY s SYSTEM "file://{secret}">]>',
        "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY s '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]>",
    ],
)
@pytest.mark.parametrize("name", ["word/document.xml", "word/styles.xml", "docProps/core.xml"])
def test_entities_of_its_own_are_refused(tmp_path, dtd, name):
    (tmp_path / "secret.txt").write_text("the secret")
    dtd = dtd.replace("{secret}", str(tmp_path / "secret.txt"))
    xml = f"{dtd}<w:document {W}><w:body><w:p><w:r><w:t>&s;</w:t></w:r></w:p></w:body></w:document>"
    documents, reason = read(tmp_path / "a.docx", docx(paragraph("x"), more={name: xml.encode()}))
    assert documents == []
    assert "defines a document type" in str(reason)


def recording(original, opened):
    def call(archive, member, *arguments, **options):
        opened.append(member.filename)
        return original(archive, member, *arguments, **options)

    return call


def test_a_zip_bomb_is_refused_before_it_is_unzipped(tmp_path, monkeypatch):
    bomb = docx("", more={"word/document.xml": b" " * 100_000_000})
    assert len(bomb) < 200_000
    opened = []
    monkeypatch.setattr(zipfile.ZipFile, "open", recording(zipfile.ZipFile.open, opened))
    documents, reason = read(tmp_path / "a.docx", bomb, ReadingLimits(characters=1_000_000))
    assert documents == []
    assert "zip bomb" in str(reason)
    assert opened == ["word/styles.xml", "docProps/core.xml"]


def test_a_zip_bomb_that_lies_about_its_size_is_stopped_while_it_is_unzipped(tmp_path):
    honest = docx(paragraph("word " * 100_000))
    size = zipfile.ZipFile(io.BytesIO(honest)).getinfo("word/document.xml").file_size
    lying = honest.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != honest
    documents, reason = read(tmp_path / "a.docx", lying, ReadingLimits(characters=1000))
    assert documents == []
    assert "broken" in str(reason) or "not valid XML" in str(reason)


def test_more_than_the_limit_is_never_unzipped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_XML_BYTES", 1000)
    _, reason = read(tmp_path / "a.docx", docx(paragraph("x" * 2000)))
    assert "unzips to more than 1,000 bytes" in str(reason)


def test_a_zip_inside_is_not_opened(tmp_path):
    inner = docx("", more={"word/document.xml": b" " * 1_000_000})
    document = only(
        tmp_path / "a.docx", docx(paragraph("seen"), more={"word/embeddings/1.docx": inner})
    )
    assert document.text == "seen"


def test_a_zip_of_zips_named_docx_is_told(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("1.zip", docx(paragraph("x")))
    assert "no DOCX" in str(read(tmp_path / "a.docx", out.getvalue())[1])


def test_deep_nesting_is_refused(tmp_path):
    assert "nested more than 256 deep" in str(
        read(tmp_path / "a.docx", docx("<w:sdt>" * 100_000))[1]
    )


@pytest.mark.parametrize(
    "content",
    [
        b"no zip",
        docx(paragraph("x"))[:-30],
        docx("<w:p>"),
        docx(paragraph("x")).replace(b"w", b"v"),
    ],
)
def test_a_broken_docx_is_told(tmp_path, content):
    documents, reason = read(tmp_path / "a.docx", content)
    assert documents == []
    assert reason


def test_an_encrypted_member_is_told(tmp_path):
    data = bytearray(docx(paragraph("x")))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset] |= 1
            place = data.find(signature, place + 1)
    _, reason = read(tmp_path / "a.docx", bytes(data))
    assert reason == "it is encrypted. Save it without a password."

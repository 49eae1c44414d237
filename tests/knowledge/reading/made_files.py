"""PDF and DOCX files made by hand, as small as they can be, and reading in this process."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from steelyard.errors import DataError
from steelyard.knowledge.reading import Document, Found, ReadingLimits
from steelyard.knowledge.reading.formats import read_documents
from steelyard.knowledge.reading.source import Source

PICTURE = object()  # in place of a page's text: the page shows an image
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def pdf(pages: Sequence[str | object], *, outline: Sequence[tuple[str, int]] = ()) -> bytes:
    """A PDF with one line of text on each page, and an outline of (title, page index)."""
    objects: dict[int, bytes] = {}
    font, image = 3, 4
    objects[font] = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects[image] = (
        b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray "
        b"/BitsPerComponent 8 /Length 1 >>\nstream\n\x00\nendstream"
    )
    first_page = 10
    for number, page in enumerate(pages):
        if page is PICTURE:
            content = b"q 100 0 0 100 0 0 cm /I Do Q"
            resources = b"<< /XObject << /I 4 0 R >> >>"
        else:
            words = str(page).replace("(", r"\(").replace(")", r"\)").encode("latin-1")
            content = b"BT /F 12 Tf 20 700 Td (" + words + b") Tj ET" if words else b""
            resources = b"<< /Font << /F 3 0 R >> >>"
        here = first_page + 2 * number
        objects[here] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources %s "
            b"/Contents %d 0 R >>" % (resources, here + 1)
        )
        objects[here + 1] = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
    kids = b" ".join(b"%d 0 R" % (first_page + 2 * n) for n in range(len(pages)))
    objects[2] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages))
    objects[1] = b"<< /Type /Catalog /Pages 2 0 R %s >>" % (b"/Outlines 5 0 R" if outline else b"")
    entry = first_page + 2 * len(pages)
    if outline:
        last = entry + len(outline) - 1
        objects[5] = b"<< /First %d 0 R /Last %d 0 R >>" % (entry, last)
    for number, (title, page) in enumerate(outline):
        after = b"/Next %d 0 R" % (entry + number + 1) if number + 1 < len(outline) else b""
        objects[entry + number] = b"<< /Title (%s) /Parent 5 0 R /Dest [%d 0 R /Fit] %s >>" % (
            title.encode("latin-1"),
            first_page + 2 * page,
            after,
        )
    return _assembled(objects)


def _assembled(objects: Mapping[int, bytes]) -> bytes:
    out = b"%PDF-1.4\n"
    places = {}
    for number in sorted(objects):
        places[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    start, size = len(out), max(objects) + 1
    out += b"xref\n0 %d\n" % size
    for number in range(size):
        used = number in places
        out += b"%010d %05d %s \n" % (
            places.get(number, 0),
            0 if used else 65535,
            b"n" if used else b"f",
        )
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)


STYLES = f"""<w:styles {W}>
<w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
<w:style w:type="paragraph" w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>
</w:styles>"""


def docx(
    body: str, *, styles: str = STYLES, title: str = "", more: Mapping[str, bytes] | None = None
) -> bytes:
    """A DOCX around the XML of a body."""
    core = (
        '<c:coreProperties xmlns:c="urn:c" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title></c:coreProperties>"
    )
    files: dict[str, bytes] = {
        "word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>".encode(),
        "word/styles.xml": styles.encode(),
        "docProps/core.xml": core.encode(),
        **(more or {}),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def found(path: Path, root: Path | None = None) -> Found:
    status = path.stat()
    return Found(path, root or path.parent, status.st_size, status.st_mtime_ns)


def read(
    path: Path, content: bytes | str, limits: ReadingLimits | None = None
) -> tuple[list[Document], str | None]:
    """What is in a file of this content: its documents, and the reason for what is missing."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    documents: list[Document] = []
    try:
        for document in read_documents(Source(path, path.name, limits or ReadingLimits())):
            documents.append(document)
    except DataError as error:
        return documents, str(error)
    return documents, None


def only(path: Path, content: bytes | str) -> Document:
    """The one document in a file that is read whole."""
    documents, reason = read(path, content)
    assert reason is None, reason
    (document,) = documents
    return document

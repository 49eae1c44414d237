"""PDF → text, page by page, with pypdf. Pages that are pictures are told, not read."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steelyard.errors import DataError
from steelyard.knowledge.reading.document import Document, Heading
from steelyard.knowledge.reading.source import MOST_HEADINGS, Source, one_line, tidy

if TYPE_CHECKING:
    from pypdf import PdfReader

BETWEEN_PAGES = "\n\n"
NAMED_PAGES = 10


def read_pdf(source: Source) -> Iterator[Document]:
    """One document with the offsets of its pages; its outline gives the headings.

    Raises:
        DataError: it is encrypted, broken or without text; or, after the document, some of its
        pages hold pictures and no text.
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(source.path)
        text, pages, pictures, broken = _pages(reader, source)
    except (FileNotDecryptedError, DependencyError):
        # An empty password was tried; AES would need one more library even for that.
        raise DataError("it is encrypted. Save it without a password.") from None
    except PyPdfError as error:
        raise DataError(
            f"it is no PDF, or a broken one ({one_line(str(error))[:200]}). "
            "Save it again from the program it came from."
        ) from None
    if not text.strip():
        if broken:
            raise DataError("its pages are broken. Save it again from the program it came from.")
        kind = "hold only pictures" if pictures else "are empty"
        raise DataError(
            f"there is no text in it: its {len(pages)} pages {kind}. "
            "Put it through text recognition (OCR) and save the result."
        )
    headings = _outline(reader, text, pages)
    yield source.document(
        text, "pdf", headings=headings, pages=pages, about={"title": _title(reader)}
    )
    missing = []
    if pictures:
        missing.append(f"{_numbers(pictures)} hold pictures and no text: recognise it (OCR).")
    if broken:
        missing.append(f"{_numbers(broken)} are broken: save the file again.")
    if missing:
        raise DataError(f"of its {len(pages)} pages some were not read. {' '.join(missing)}")


def _numbers(pages: list[int]) -> str:
    shown = ", ".join(str(page) for page in pages[:NAMED_PAGES])
    return shown + (f" and {len(pages) - NAMED_PAGES} more" if len(pages) > NAMED_PAGES else "")


def _pages(reader: PdfReader, source: Source) -> tuple[str, list[int], list[int], list[int]]:
    """The text, each page's offset in it, and the numbers of pages without text and broken."""
    parts: list[str] = []
    starts: list[int] = []
    pictures: list[int] = []
    broken: list[int] = []
    length = 0
    for number, page in enumerate(reader.pages, 1):
        try:
            text = tidy(page.extract_text()).strip()
        except MemoryError:
            raise
        except Exception:  # pypdf raises whatever a broken object leads it to
            broken.append(number)
            text = ""
        if text and parts:
            parts.append(BETWEEN_PAGES)
            length += len(BETWEEN_PAGES)
        starts.append(length)
        if text:
            parts.append(text)
            length += len(text)
        elif broken[-1:] != [number] and _has_picture(page):
            pictures.append(number)
        if length > source.limits.characters:
            raise source.too_long()
    return "".join(parts), starts, pictures, broken


def _has_picture(page: Any) -> bool:
    """Whether a page shows an image; broken pages show none."""
    try:
        objects = page["/Resources"]["/XObject"].get_object()
        return any(one.get_object().get("/Subtype") == "/Image" for one in objects.values())
    except Exception:  # as above
        return False


def _title(reader: PdfReader) -> str | None:
    try:
        return one_line(str(reader.metadata.title or "")) if reader.metadata else None
    except Exception:  # as above; a broken title is no reason to lose the text
        return None


def _outline(reader: PdfReader, text: str, pages: list[int]) -> list[Heading]:
    """The entries of the outline whose words stand on their page, in the order of the text."""
    found: list[Heading] = []
    try:
        waiting: list[tuple[int, Iterator[Any]]] = [(1, iter(reader.outline))]
        while waiting and len(found) < MOST_HEADINGS:
            level, entries = waiting[-1]
            entry = next(entries, None)
            if entry is None:
                waiting.pop()
            elif isinstance(entry, list):
                waiting.append((level + 1, iter(entry)))
            else:
                page = reader.get_destination_page_number(entry)
                title = tidy(str(entry.title)).strip()
                if title and page is not None and 0 <= page < len(pages):
                    end = pages[page + 1] if page + 1 < len(pages) else len(text)
                    start = text.find(title, pages[page], end)
                    if start >= 0:
                        bisect.insort(found, Heading(level, title, start), key=lambda h: h.start)
    except Exception:  # as above; the text is worth having without headings
        return found
    return found

"""Every other type of file, through kreuzberg if it is installed."""

from __future__ import annotations

from collections.abc import Iterator

from steelyard.core import Json
from steelyard.errors import DataError, need
from steelyard.knowledge.reading.document import Document
from steelyard.knowledge.reading.markup import markdown_headings
from steelyard.knowledge.reading.source import Source, tidy


def read_other(source: Source) -> Iterator[Document]:
    """One document, as Markdown. Pictures are not put through text recognition.

    Raises:
        MissingExtraError: kreuzberg is not installed.
        DataError: it does not know the type, or cannot read the file.
    """
    kreuzberg = need("kreuzberg", "documents")
    config = kreuzberg.ExtractionConfig(use_cache=False, disable_ocr=True, output_format="markdown")
    try:
        result = kreuzberg.extract_file_sync(source.path, config=config)
    except kreuzberg.KreuzbergError as error:
        raise DataError(
            f"kreuzberg cannot read it ({str(error)[:200]}). Save it as one of the types that are "
            "read without it, such as PDF or DOCX."
        ) from None
    text = tidy(result.content)
    about: dict[str, Json] = {"title": str(result.metadata.get("title") or "")}
    yield source.document(
        text,
        source.path.suffix.lower().lstrip("."),
        headings=markdown_headings(text),
        about=about,
    )

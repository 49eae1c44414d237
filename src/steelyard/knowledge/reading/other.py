"""Office files, e-books, mails and notebooks, through kreuzberg if it is installed."""

from __future__ import annotations

from collections.abc import Iterator

from steelyard.core import Json
from steelyard.errors import DataError, need
from steelyard.knowledge.reading.document import Document
from steelyard.knowledge.reading.markup import markdown_headings
from steelyard.knowledge.reading.source import Source, tidy

# Not all that kreuzberg can: for source code it downloads grammars, and nothing is fetched here.
SUFFIXES = (
    *(".doc", ".eml", ".epub", ".fb2", ".ipynb", ".json", ".msg", ".odp", ".ods", ".odt"),
    *(".org", ".ppt", ".pptx", ".rtf", ".tsv", ".xls", ".xlsx", ".xml"),
)


def read_other(source: Source) -> Iterator[Document]:
    """One document, as Markdown. Pictures are not put through text recognition.

    Raises:
        MissingExtraError: kreuzberg is not installed.
        DataError: it cannot read the file.
    """
    kreuzberg = need("kreuzberg", "documents")
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,
        output_format="markdown",
        tree_sitter=kreuzberg.TreeSitterConfig(enabled=False),
    )
    try:
        result = kreuzberg.extract_file_sync(source.path, config=config)
    except kreuzberg.KreuzbergError as error:
        raise DataError(
            f"kreuzberg cannot read it ({str(error)[:200]}). Save it again, or as PDF or DOCX."
        ) from None
    text = tidy(result.content)
    about: dict[str, Json] = {"title": str(result.metadata.get("title") or "")}
    suffix = source.path.suffix.lower().lstrip(".")
    yield source.document(text, suffix, headings=markdown_headings(text), about=about)

"""Which reader reads which type of file, and what becomes of a reader that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from steelyard.errors import DataError, MissingExtraError
from steelyard.knowledge.reading.document import Document
from steelyard.knowledge.reading.docx import read_docx
from steelyard.knowledge.reading.markup import read_markdown, read_plain, read_rst
from steelyard.knowledge.reading.other import SUFFIXES, read_other
from steelyard.knowledge.reading.pdf import read_pdf
from steelyard.knowledge.reading.rows import read_csv, read_jsonl
from steelyard.knowledge.reading.source import Source
from steelyard.knowledge.reading.web import read_html

READERS: dict[str, Callable[[Source], Iterator[Document]]] = {
    "": read_plain,
    ".txt": read_plain,
    ".text": read_plain,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".rst": read_rst,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".docx": read_docx,
    ".pdf": read_pdf,
    **dict.fromkeys(SUFFIXES, read_other),
}


def read_documents(source: Source) -> Iterator[Document]:
    """The documents of one file, whatever is in it.

    Raises:
        DataError: the file, or what of it has not come yet, cannot be read: a sentence.
        MemoryError: it needs more than there is.
    """
    suffix = source.path.suffix.lower()
    try:
        if suffix not in READERS:
            known = ", ".join(filter(None, READERS))
            raise DataError(f'files of type "{suffix[:20]}" are not read. Known: {known}.')
        if source.path.stat().st_size == 0:
            raise DataError("it is empty. Remove it, or fill it.")
        yield from READERS[suffix](source)
    except (DataError, MemoryError):
        raise
    except MissingExtraError:
        raise DataError(
            f'files of type "{suffix}" need an extra. Install it with: '
            "pip install 'steelyard[documents]', or save the file as PDF or DOCX."
        ) from None
    except OSError as error:
        raise DataError(
            f"it cannot be opened ({error.strerror or error}). Check its permissions."
        ) from error
    except RecursionError:
        raise DataError("it is nested too deeply. Save it in a simpler form.") from None
    except Exception as error:  # a file is the job here: it fails, the next one is read
        said = f"{type(error).__name__}: {error}"[:200]
        raise DataError(
            f"reading it failed ({said}). Save it again from the program it came from."
        ) from error

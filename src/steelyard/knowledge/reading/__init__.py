"""Files → documents, safely: found here, parsed in a child process with limits.

    find_files   folders and files → each file, or why it is left out
    read_files   files → documents, batch by batch, or why a file could not be read

Nothing that a document names is fetched or opened. Hidden files and folders (a name that begins
with a dot) inside a given folder are skipped; what else is left out is listed with its reason.
"""

from steelyard.knowledge.reading.document import (
    Document,
    Found,
    Heading,
    ReadingLimits,
    Unreadable,
)
from steelyard.knowledge.reading.files import find_files
from steelyard.knowledge.reading.supervise import read_files

__all__ = [
    "Document",
    "Found",
    "Heading",
    "ReadingLimits",
    "Unreadable",
    "find_files",
    "read_files",
]

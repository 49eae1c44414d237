"""The tables of a knowledge base: one SQLite file, from which every index is derived.

    source     a file that was added: its hash says whether it changed, or its reason why not read
    document   what a source held: whole text, title, dates, whose it is
    passage    pieces of documents
    searched   what is searched of a passage: `words` is its FTS5 index, `vector` its embedding
    band       which passages that stand for themselves could be near-duplicates of one another
    setting    what the rest was made with

Of a `source`, `name` is the path below the folder that was given. Without a `sha256` it is not
read to its end, or could not be opened, and is read again.

Of a `document`, `valid_from` '' is "always" and `valid_to` '9' is "still". It holds from
`valid_from` until before `valid_to`, which is `ends`, if the document gave an end, or else where a
later version begins. `version` counts the different `valid_from` of one tenant, user and id.

Of a `passage`, `same_as` names the one that stands for it and shares its tenant, user, dates,
metadata and title (folding.py). Only passages that stand for themselves have a `vector`, of
float16; `words` holds them all. Numbers of documents and passages are never used twice.

The title stands before what is searched, because few passages name what they are about: on
timeqa_human hybrid recall@5 is 0.89 with it and 0.78 without. A document keeps its title.

Settings: `cutting`, the version of the rules in `passages.py`; `reader`, what read the files;
`embedder`, whose vectors are here
or on their way, and `embedder_source`, where it is opened from; `embedded`, below which number
no passage lacks a vector.
"""

from __future__ import annotations

from steelyard.knowledge.folding import fold_anew
from steelyard.store.sqlite import Migration, statements

ALWAYS = ""  # valid_from of what has no beginning: before every date
STILL = "9"  # valid_to of what has no end: after every date

MIGRATIONS: tuple[Migration, ...] = (
    statements(
        """
CREATE TABLE source (
    path TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT,
    size_bytes INTEGER,
    modified_ns INTEGER,
    error TEXT,
    added_at TEXT NOT NULL
)""",
        """
CREATE TABLE document (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    source TEXT NOT NULL REFERENCES source(path),
    tenant TEXT NOT NULL DEFAULT '',
    user TEXT NOT NULL DEFAULT '',
    title TEXT NOT NULL,
    valid_from TEXT NOT NULL DEFAULT '',
    valid_to TEXT NOT NULL DEFAULT '9',
    ends TEXT NOT NULL DEFAULT '',
    metadata TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    text TEXT NOT NULL
)""",
        "CREATE UNIQUE INDEX document_identity "
        "ON document (tenant, user, id, valid_from, source, sha256)",
        "CREATE INDEX document_source ON document (source, sha256)",
        """
CREATE TABLE passage (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES document(number),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    headings TEXT NOT NULL,
    page INTEGER,
    text TEXT NOT NULL,
    same_as INTEGER
)""",
        "CREATE INDEX passage_document ON passage (document)",
        "CREATE INDEX passage_same_as ON passage (same_as) WHERE same_as IS NOT NULL",
        """
CREATE VIEW searched (number, text) AS
SELECT passage.number, document.title || char(10) || passage.text
FROM passage JOIN document ON document.number = passage.document""",
        """
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'searched', content_rowid = 'number', tokenize = 'porter unicode61'
)""",
        """
CREATE TABLE vector (
    passage INTEGER PRIMARY KEY,
    embedder TEXT NOT NULL,
    value BLOB NOT NULL
)""",
        """
CREATE TABLE band (
    key INTEGER NOT NULL,
    passage INTEGER NOT NULL,
    PRIMARY KEY (key, passage)
) WITHOUT ROWID""",
        "CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        # No index can forget a passage, whoever deletes it.
        """
CREATE TRIGGER passage_added AFTER INSERT ON passage BEGIN
    INSERT INTO words (rowid, text) SELECT number, text FROM searched WHERE number = new.number;
END""",
        """
CREATE TRIGGER passage_removed BEFORE DELETE ON passage BEGIN
    INSERT INTO words (words, rowid, text)
    SELECT 'delete', number, text FROM searched WHERE number = old.number;
    DELETE FROM vector WHERE passage = old.number;
END""",
    ),
    fold_anew,  # titles came to count
)

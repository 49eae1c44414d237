"""The tables of a knowledge base: one SQLite file, from which every index is derived.

source     a file that was added: its hash says whether it changed, or its reason why not read
document   what a source held: whole text, title, dates, whose it is
passage    pieces of documents; `words` is their FTS5 index, `vector` their embeddings
"""

from __future__ import annotations

V1 = """
CREATE TABLE source (
    path TEXT PRIMARY KEY,
    sha256 TEXT,
    size_bytes INTEGER,
    modified_ns INTEGER,
    error TEXT,
    added_at TEXT NOT NULL
);
CREATE TABLE document (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    source TEXT NOT NULL REFERENCES source(path),
    tenant TEXT NOT NULL DEFAULT '',
    user TEXT NOT NULL DEFAULT '',
    title TEXT NOT NULL,
    valid_from TEXT NOT NULL DEFAULT '',
    valid_to TEXT NOT NULL DEFAULT '9',
    metadata TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE UNIQUE INDEX document_identity ON document (tenant, user, id, version);
CREATE INDEX document_source ON document (source);
CREATE TABLE passage (
    number INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES document(number),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    headings TEXT NOT NULL,
    page INTEGER,
    text TEXT NOT NULL,
    same_as INTEGER
);
CREATE INDEX passage_document ON passage (document);
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'passage', content_rowid = 'number', tokenize = 'porter unicode61'
);
CREATE TABLE vector (
    passage INTEGER PRIMARY KEY,
    embedder TEXT NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

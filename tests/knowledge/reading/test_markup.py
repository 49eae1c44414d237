"""Markdown and reStructuredText: headings where the reference finds them, front matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_files import only, read
from markdown_it import MarkdownIt

from steelyard.knowledge.reading.markup import front_matter, markdown_headings, rst_headings

PIECES = st.sampled_from(
    [
        *("# One", "## Two ##", "### Three #sharp", "#nospace", "####### seven", "#", "    # code"),
        *("Title", "Under", "===", "---", "-----", "plain words", "- item", "> quoted", "1. one"),
        *("```", "```python", "~~~", "````", "", "", "", " ## Indented", "| a | b |", "# #"),
    ]
)


def reference(text: str) -> list[tuple[int, str, int]]:
    """(level, title, line) of the headings that stand at the top level of a document."""
    tokens = MarkdownIt("commonmark").parse(text)
    return [
        (int(tokens[i].tag[1]), tokens[i + 1].content, tokens[i].map[0])
        for i in range(len(tokens))
        if tokens[i].type == "heading_open" and tokens[i].level == 0
    ]


@given(st.lists(PIECES, max_size=12))
def test_markdown_headings_are_those_of_commonmark(lines):
    # Paragraphs and lists stand apart here: underlined paragraphs of several lines and headings
    # inside lists are where the short rules differ.
    text = "\n\n".join("\n".join(group) for group in grouped(lines)) + "\n"
    expected = [h for h in reference(text) if h[1] and "\n" not in h[1]]
    ours = [(h.level, h.title, text.count("\n", 0, h.start)) for h in markdown_headings(text)]
    assert ours == expected


def grouped(lines: list[str]) -> list[list[str]]:
    """Each line alone, but a line of words keeps the underline that follows it."""
    groups: list[list[str]] = []
    for line in lines:
        if line in ("===", "---", "-----") and groups and groups[-1] in (["Title"], ["Under"]):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def test_headings_in_code_are_none():
    assert markdown_headings("```\n# no\n```\n# yes") == [(1, "yes", 15)]
    assert markdown_headings("~~~~\n~~~\n# no") == []


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("Title\n=====\n\ntext\n\nPart\n----\n", [(1, "Title", 0), (2, "Part", 19)]),
        ("####\nBook\n####\n\nA\n==\n\nB\n~~\n\nC\n==\n", None),
        ("text above\nnot a title\n===========\n", []),
        ("A long title\n===\n", []),
        ("    indented\n    ========\n", []),
        ("----\n\n----\n", []),
        ("===== =====\na     b\n===== =====\n", []),
        ("======\n Book\n======\n", [(1, "Book", 8)]),
    ],
)
def test_rst_headings_by_their_lines(text, headings):
    found = rst_headings(text)
    if headings is None:
        assert [(h.level, h.title) for h in found] == [(1, "Book"), (2, "A"), (3, "B"), (2, "C")]
    else:
        assert found == headings


def test_an_rst_include_stays_a_line_of_text(tmp_path):
    (tmp_path / "secret.txt").write_text("the secret")
    text = "Title\n=====\n\n.. include:: secret.txt\n"
    document = only(tmp_path / "a.rst", text)
    assert document.text == text
    assert (document.title, document.format) == ("Title", "rst")


def test_front_matter_says_title_dates_and_whose_it_is(tmp_path):
    document = only(
        tmp_path / "a.md",
        "---\ntitle: 'Rules: old'\nvalid_from: 2020-01-31\nvalid_to: 2021\ntenant: acme\n"
        "user: 7\nyear: 2020\nfinal: true # yes\nnumber: 007\ntags:\n  - a\n  - b\nempty:\n"
        "list: [1, 2]\n---\n# Rules\nText",
    )
    assert document.text == "# Rules\nText"
    assert document.headings == ((1, "Rules", 2),)
    assert (document.title, document.tenant, document.user) == ("Rules: old", "acme", "7")
    assert (document.valid_from, document.valid_to) == ("2020-01-31", "2021-12-31")
    assert document.metadata == {"year": 2020, "final": True, "number": "007"}


@pytest.mark.parametrize("text", ["---\nno pair\n---\nText", "---\ntitle: never closed", "--- \n"])
def test_a_rule_at_the_top_is_no_front_matter(text):
    assert front_matter(text) == ({}, text)


def test_a_date_that_is_none_is_told(tmp_path):
    documents, reason = read(tmp_path / "a.md", "---\nvalid_from: May 2020\n---\nText")
    assert documents == []
    assert reason == (
        'valid_from is "May 2020". Expected an ISO date such as 2020-05-01. Correct it.'
    )


def test_the_title_is_the_first_heading_or_the_name(tmp_path):
    assert only(tmp_path / "a.md", "text\n\n## Part\n").title == "Part"
    assert only(tmp_path / "handbook.md", "text").title == "handbook"
    assert only(tmp_path / "notes.txt", "# text").title == "notes"

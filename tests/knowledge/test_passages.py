"""Passages are pieces of one section and page, and nothing of a document is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.knowledge.passages import MAX_CHARACTERS, MAX_WORDS, cut
from steelyard.knowledge.reading import Document, Heading


def document(text: str, **fields: object) -> Document:
    return Document(id="d", title="T", text=text, format="text", **fields)  # type: ignore[arg-type]


def headed(text: str) -> Document:
    """A document whose headings are the lines that begin with #."""
    headings, start = [], 0
    for line in text.splitlines(keepends=True):
        marks = len(line) - len(line.lstrip("#"))
        if marks:
            title = line.strip("# \n")
            headings.append(Heading(marks, title, start + line.index(title)))
        start += len(line)
    return document(text, headings=tuple(headings))


WORDS = st.sampled_from(
    ["a", "word", "longer", "end.", "Why?", "x" * 40, "y" * 1500, "転送。", "é"]
)
BLANKS = st.sampled_from([" ", "  ", "\n", "\n\n", " \n \n ", "\t", "\u00a0"])
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(st.tuples(WORDS, BLANKS), max_size=250).map(
        lambda pairs: "".join(word + blank for word, blank in pairs)
    ),
)


@given(text=TEXTS, data=st.data())
def test_passages_are_the_text_in_order_whole_and_within_headings_and_pages(text, data):
    offsets = st.lists(st.integers(0, len(text)), max_size=5, unique=True).map(sorted)
    pages = tuple(data.draw(offsets))
    starts = [start for start in data.draw(offsets) if start < len(text)]
    headings = tuple(
        Heading(data.draw(st.integers(1, 3)), text[start : start + 5], start) for start in starts
    )
    found = cut(document(text, pages=pages, headings=headings, valid_from="2020-01-01"))
    at = 0
    for passage in found:
        assert passage.text == text[passage.start : passage.end]
        assert passage.text == passage.text.strip() != ""
        assert not text[at : passage.start].strip()
        assert len(passage.text.split()) <= MAX_WORDS
        assert len(passage.text) <= MAX_CHARACTERS
        assert not any(passage.start < page < passage.end for page in pages)
        assert (passage.document, passage.title, passage.time) == ("d", "T", "2020-01-01")
        at = passage.end
    assert not text[at:].strip()


@given(st.lists(st.sampled_from(["# A\n", "## B\n", "### C\n", "some text\n", "\n"]), max_size=12))
def test_a_passage_has_the_text_of_one_section_and_the_path_that_leads_to_it(lines):
    text = "".join(lines)
    path: list[str] = []
    expected = []  # the path of every line of text
    for line in lines:
        if line.startswith("#"):
            level = line.count("#")
            path = [*(above for above in path if "ABC".index(above) + 1 < level), line[-2]]
        elif line.strip():
            expected.append(tuple(path))
    found = [
        passage.headings
        for passage in cut(headed(text))
        for line in passage.text.splitlines()
        if line == "some text"
    ]
    assert found == expected


def test_the_example_of_the_module_is_true():
    text = "# Fees\nA transfer costs two euros.\n# Cards\n## Lost\nCall us at once.\n"
    assert [(passage.headings, passage.text) for passage in cut(headed(text))] == [
        (("Fees",), "# Fees\nA transfer costs two euros."),
        (("Cards", "Lost"), "# Cards\n## Lost\nCall us at once."),
    ]


def test_a_heading_without_text_does_not_join_the_section_of_a_neighbour():
    found = cut(headed("# Empty\n\n# Next\ntext\n"))
    assert [(p.headings, p.text) for p in found] == [
        (("Empty",), "# Empty"),
        (("Next",), "# Next\ntext"),
    ]


def test_every_passage_knows_its_page():
    text = "front matter. one one. two."
    pages = (text.index("one"), text.index("two"))
    found = [(p.page, p.text) for p in cut(document(text, pages=pages))]
    assert found == [(1, "front matter."), (1, "one one."), (2, "two.")]
    assert [p.page for p in cut(document(text))] == [None]


def test_an_empty_page_is_counted():
    assert [p.page for p in cut(document("one two", pages=(0, 4, 4)))] == [1, 3]


def test_paragraphs_stay_whole_and_passages_are_about_equally_long():
    paragraphs = [f"p{i} " + "word " * 29 for i in range(8)]
    found = cut(document("\n\n".join(paragraphs)))
    assert [len(p.text.split()) for p in found] == [90, 90, 60]
    assert all(p.text.startswith("p") for p in found)
    found = cut(document("\n\n".join(paragraphs[:4])))
    assert [len(p.text.split()) for p in found] == [60, 60]  # and not 90 and 30


def test_a_long_paragraph_is_cut_between_sentences():
    sentences = [f"Sentence {i} has exactly eight words in it." for i in range(30)]
    found = cut(document(" ".join(sentences)))
    assert len(found) == 3
    assert [s for p in found for s in p.text.split(". ")] != []
    assert all(p.text.startswith("Sentence") and p.text.endswith(".") for p in found)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("word " * 250, [100, 100, 50]),
        ("x" * 2000, [900, 900, 200]),
        ("長" * 1000, [900, 100]),
        ("見出し。" * 300, [400, 400, 400]),
    ],
)
def test_what_has_no_breaks_is_cut_hard(text, sizes):
    found = cut(document(text))
    measure = (lambda t: len(t.split())) if " " in text else len
    assert [measure(p.text) for p in found] == sizes
    assert "".join(p.text.replace(" ", "") for p in found) == text.replace(" ", "")


@pytest.mark.parametrize("text", ["", " ", "\n\n\t"])
def test_nothing_but_blanks_has_no_passages(text):
    assert cut(document(text, pages=(0,))) == []

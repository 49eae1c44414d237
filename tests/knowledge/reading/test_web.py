"""HTML → text: what a reader of the page sees, and no more."""

from __future__ import annotations

import pytest
from made_files import only, read


def text_of(tmp_path, html: str | bytes) -> str:
    return only(tmp_path / "a.html", html).text


def test_headings_paragraphs_and_lists(tmp_path):
    document = only(
        tmp_path / "a.html",
        "<html><head><title>The\n page</title></head><body><h1>Big<a href='#x'>¶</a></h1>"
        "<p>One &amp; <b>two</b>\nthree.<br>Four</p><ul><li>a</li><li><p>b</p></ul>"
        "<h2>Small\n one</h2>End</body></html>",
    )
    assert document.text == "Big\n\nOne & two three.\nFour\n- a\n- b\n\nSmall one\n\nEnd"
    assert document.title == "The page"
    assert document.headings == ((1, "Big", 0), (2, "Small one", document.text.index("Small")))


@pytest.mark.parametrize(
    "rows",
    [
        "<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td> <td>2</td></tr>",
        "<tr><th>a<th>b<tr><td>1<td>2<tr><td></td><td> </td>",
        "<tbody><tr><th><p>a</p></th><th><div>b</div></th></tr><tr><td>1<td>2</tr></tbody>",
    ],
)
def test_tables_are_rows_of_cells(tmp_path, rows):
    html = f"<p>Before</p><table>{rows}</table><p>After</p>"
    assert text_of(tmp_path, html) == "Before\n\na | b\n1 | 2\n\nAfter"


def test_empty_cells_keep_the_others_in_their_columns(tmp_path):
    html = "<table><tr><td></td><td>b</td></tr><tr><td>a</td><td></td></tr></table>"
    assert text_of(tmp_path, html) == "| b\na |"


def test_scripts_styles_and_navigation_are_dropped(tmp_path):
    html = (
        "<style>p {}</style><nav><a>Home</a></nav><script>if (a < b) {}</script><p>Seen"
        "<svg><title>no</title></svg><noscript>no</noscript><template>no</template></p>"
    )
    assert text_of(tmp_path, html) == "Seen"


def test_navigation_that_is_never_closed_takes_nothing_with_it(tmp_path):
    assert text_of(tmp_path, "<nav>Menu<p>Text</p><svg>x") == "Menu\n\nText\n\nx"


def test_preformatted_text_keeps_its_lines(tmp_path):
    html = "<p>Code:</p><pre>def f():\n    return  1\n</pre><p>end</p>"
    assert text_of(tmp_path, html) == "Code:\n\ndef f():\n    return  1\n\nend"


def test_nothing_that_a_page_names_is_opened(tmp_path):
    (tmp_path / "secret.txt").write_text("the secret")
    html = (
        f"<p>Seen</p><iframe src='file://{tmp_path}/secret.txt'></iframe>"
        f"<object data='secret.txt'></object><img src='{tmp_path}/secret.txt'>"
        f"<link rel=stylesheet href=secret.txt>"
    )
    assert text_of(tmp_path, html) == "Seen"


def test_the_encoding_that_a_page_declares_is_used(tmp_path):
    html = '<meta charset="windows-1251"><p>Привет, мир</p>'.encode("cp1251")
    assert text_of(tmp_path, html) == "Привет, мир"


@pytest.mark.parametrize("codec", ["hex", "rot13", "none-such", "zlib"])
def test_a_codec_that_is_none_of_text_is_not_used(tmp_path, codec):
    html = f'<meta charset="{codec}"><p>Привет, мир</p>'.encode("cp1251")
    assert "Save it as UTF-8" in str(read(tmp_path / "a.html", html)[1])


def test_deep_nesting_is_read(tmp_path):
    html = "<div>" * 100_000 + "deep" + "<table><tr><td>" * 1000
    assert text_of(tmp_path, html) == "deep"


@pytest.mark.parametrize("html", ["<![foo[x]]> text", "<!x text", "&#xD800;&#13; text", "<p text>"])
def test_broken_html_is_read_or_told(tmp_path, html):
    documents, reason = read(tmp_path / "a.html", html)
    assert bool(documents) != bool(reason)
    assert all("text" in document.text for document in documents)

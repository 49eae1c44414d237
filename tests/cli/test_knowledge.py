"""steelyard knowledge as it is typed: what is kept, printed, and refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import put_back

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every test works: what is kept of a file holds its whole path."""
    return tmp_path_factory.mktemp("knowledge") / "here"


@pytest.fixture
def folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="module")
def added(place: Path, typed_in: Run) -> tuple[Path, Any]:
    """A folder of documents, added once with the fake embedder, and what that said."""
    shutil.rmtree(place, ignore_errors=True)  # of the test before
    docs = place / "docs"
    docs.mkdir(parents=True)
    (docs / "fees.md").write_text(
        "# Fees\n\nA transfer costs two euros.\n\n## Abroad\n\nA transfer abroad costs ten euros.\n"
    )
    (docs / "copy.txt").write_text("a transfer abroad costs ten euros")
    (docs / "broken.txt").write_bytes(b"\0" * 99)
    rows = [
        {"id": "rate", "text": "The interest rate is one percent.", "valid_from": "2020-01-01"},
        {"id": "rate", "text": "The interest rate is two percent.", "valid_from": "2023-01-01"},
        {"id": "order", "text": "Ann ordered a zanzibar lamp.", "user": "ann"},
        {"id": "secret", "text": "The shop ordered lamps.", "tenant": "shop"},
        {"id": "eve's", "text": "Eve said so.", "tenant": "shop", "user": "eve"},
    ]
    (docs / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = typed_in(place, "knowledge", "add", "docs", "--embedder", "fake")
    return Path(shutil.move(place, place.with_name("kept"))), ran


@pytest.fixture
def docs(folder: Path, added: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The documents and their collection in the folder; what adding them said."""
    kept, ran = added
    monkeypatch.chdir(put_back(kept, folder))
    return ran


def searched(steelyard: Run, *words: str) -> list[str]:
    ran = steelyard("knowledge", "search", *words, "--json", "-")
    assert ran.code == 0
    return [passage["text"] for passage in json.loads(ran.out)["passages"]]


def test_add_says_what_it_did_and_what_it_could_not_read(docs, folder, steelyard):
    assert (docs.code, docs.err) == (0, "")
    first, second, third, fourth = docs.out.splitlines()
    assert first == "4 new or changed files, 0 unchanged, 0 gone: 7 documents added, 0 removed."
    assert second == "default holds 7 documents in 8 passages."
    assert third == "1 file not read, or not all of it:"
    assert fourth.startswith(f"· {folder / 'docs' / 'broken.txt'}: it is binary")
    assert (folder / ".steelyard" / "knowledge" / "default.db").is_file()
    again = steelyard("knowledge", "add", "docs")
    assert again.out.startswith("0 new or changed files, 4 unchanged, 0 gone: 0 documents added")


def test_add_as_json(docs, folder, steelyard):
    (folder / "docs" / "copy.txt").unlink()
    (folder / "docs" / "new.txt").write_text("Something new.")
    ran = steelyard("knowledge", "add", "docs", "--json", "-")
    body = json.loads(ran.out)
    [wrong] = body.pop("unreadable")
    assert wrong["path"].endswith("broken.txt")
    assert body == {
        "collection": "default",
        "num_files": 4,
        "num_unchanged": 3,
        "num_removed_files": 1,
        "num_new": 1,
        "num_gone": 1,
        "num_embedded": 1,
        "num_documents": 7,
        "num_passages": 8,
        "num_folded": 0,
    }
    assert "1 new or changed file, 3 unchanged, 1 gone" in ran.err


def test_list_shows_documents_versions_dates_owners_and_reasons(docs, steelyard):
    ran = steelyard("knowledge", "list")
    assert (ran.code, ran.err) == (0, "")
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["document", "version", "from", "until", "tenant", "user", "passages"]
    assert ["rate", "1", "2020-01-01", "2023-01-01", "1"] in lines
    assert ["rate", "2", "2023-01-01", "1"] in lines
    assert ["order", "1", "ann", "1"] in lines
    assert ["fees.md", "1", "2"] in lines
    assert "broken.txt: it is binary" in ran.out
    body = json.loads(steelyard("knowledge", "list", "--json", "-").out)
    assert len(body["documents"]) == 7
    assert body["documents"][0]["id"] == "copy.txt"
    assert len(body["unreadable"]) == 1


def test_what_says_the_same_is_counted(folder, steelyard):
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("The same.")
    ran = steelyard("knowledge", "add", "a.txt", "b.txt", "--embedder", "fake")
    held = "default holds 2 documents in 2 passages, 1 of which say the same as others."
    assert held in ran.out
    assert "the same as others" in steelyard("knowledge", "list").out.splitlines()[0]
    assert searched(steelyard, "same") == ["The same."]


@pytest.mark.parametrize("kind", ["lexical", "vector", "hybrid"])
def test_search_prints_passages_with_their_place(docs, steelyard, kind):
    ran = steelyard("knowledge", "search", "transfer abroad ten euros", "-k", "2", "--kind", kind)
    assert (ran.code, ran.err) == (0, "")
    assert "fees.md  Fees › Abroad" in ran.out
    assert "   A transfer abroad costs ten euros.\n" in ran.out
    heads = [line for line in ran.out.splitlines() if line[:1].isdigit()]
    assert [head.split()[0] for head in heads] == ["1", "2"]


def test_search_sees_what_holds_now_or_held_at_a_date(docs, steelyard):
    words = ("interest rate", "-k", "1", "--kind", "lexical")
    assert searched(steelyard, *words) == ["The interest rate is two percent."]
    before = searched(steelyard, *words, "--as-of", "2022-06-01")
    assert before == ["The interest rate is one percent."]
    assert searched(steelyard, *words, "--as-of", "2019") == []
    assert steelyard("knowledge", "search", *words, "--as-of", "2019").out == "Nothing fits.\n"


def test_search_keeps_users_and_tenants_apart(docs, steelyard):
    words = ("ordered lamp", "--kind", "lexical")
    assert searched(steelyard, *words) == []
    assert searched(steelyard, *words, "--user", "ann") == ["Ann ordered a zanzibar lamp."]
    assert searched(steelyard, *words, "--user", "bob") == []
    assert searched(steelyard, *words, "--tenant", "shop") == ["The shop ordered lamps."]


def test_remove_by_file_folder_and_id(docs, folder, steelyard):
    ran = steelyard("knowledge", "remove", "docs/fees.md", "rate")
    assert (ran.code, ran.out, ran.err) == (0, "3 documents removed from default.\n", "")
    assert searched(steelyard, "interest rate two euros", "--kind", "lexical") == [
        "a transfer abroad costs ten euros"
    ]
    ran = steelyard("knowledge", "remove", "docs", "--json", "-")
    assert json.loads(ran.out) == {"collection": "default", "num_documents": 4, "sources": []}
    assert "default holds 0 documents in 0 passages." in steelyard("knowledge", "list").out


def test_a_removed_file_that_is_gone_can_be_removed_by_its_path(docs, folder, steelyard):
    (folder / "docs" / "fees.md").unlink()
    assert steelyard("knowledge", "remove", "docs/fees.md").code == 0


def test_remove_forgets_a_user_and_says_what_still_holds_them(docs, folder, steelyard):
    ran = steelyard("knowledge", "remove", "--user", "ann")
    rows = folder / "docs" / "rows.jsonl"
    assert ran.out.splitlines() == [
        "1 document removed from default.",
        f"· {rows} still holds them, and brings them back when it changes",
    ]
    assert searched(steelyard, "lamp", "--user", "ann", "--kind", "lexical") == []
    kept = b"".join(p.read_bytes() for p in (folder / ".steelyard" / "knowledge").glob("*"))
    assert b"zanzibar" not in kept


def test_collections_are_apart(docs, folder, steelyard):
    (folder / "other.txt").write_text("Another collection.")
    steelyard("knowledge", "add", "other.txt", "--collection", "other", "--embedder", "fake")
    ran = steelyard("knowledge", "search", "collection", "--collection", "other")
    assert "Another collection." in ran.out
    assert "other.txt" not in steelyard("knowledge", "list").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "nowhere"], "nowhere: there is no such file or folder"),
        (["add", "docs", "--collection", "../up"], 'collection "../up": expected a name'),
        (["add", "docs", "--embedder", "docs"], "docs: no embedder there"),
        (["add"], "Missing argument"),
        (
            ["list", "--collection", "othr"],
            'collection "othr" is not in .steelyard. Known: default',
        ),
        (["search", " "], "the query is empty"),
        (["search", "x", "-k", "0"], "--num-passages 0: expected at least 1"),
        (["search", "x", "--as-of", "soon"], '--as-of is "soon". Expected an ISO date'),
        (["search", "x", "--kind", "magic"], "lexical"),
        (["remove", "fee.md"], 'fee.md: no file, folder or document id.*Did you mean "fees.md"'),
        (["remove", "secret"], "secret: no file, folder or document id"),
        (["remove"], "expected files, folders or ids of documents to remove, or --user NAME"),
        (["remove", "rate", "--user", "ann"], "expected files, folders or ids"),
        (["remove", "--user", "bob"], 'user "bob" has no documents in this collection'),
        (["remove", "--user", ""], 'user "" has no documents'),
        (["remove", "--user", "ann", "--tenant", "x"], "some of no tenant: leave --tenant out"),
        (["remove", "--user", "eve"], "They have some in tenant shop: add --tenant"),
        (["list", "--json", "nowhere/x.json"], "--json nowhere/x.json: cannot be written"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_done(docs, steelyard, arguments, said):
    before = steelyard("knowledge", "list").out
    ran = steelyard("knowledge", *arguments)
    assert ran.code == 2
    assert re.search(said.replace("(", r"\("), " ".join(ran.err.split()))
    assert steelyard("knowledge", "list").out == before


def test_a_home_without_knowledge_says_how_to_begin(folder, steelyard):
    ran = steelyard("knowledge", "search", "x")
    assert ran.code == 2
    assert "There is none yet. Add documents with: steelyard knowledge add PATH" in ran.err
    assert steelyard("knowledge", "add", "nowhere").code == 2
    assert not (folder / ".steelyard").exists()


def test_a_home_that_cannot_be_written_is_an_input_error(folder, steelyard):
    (folder / "file").write_text("")
    (folder / "a.txt").write_text("One.")
    ran = steelyard("knowledge", "add", "a.txt", "--home", "file")
    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_a_spoilt_collection_is_a_failure(docs, folder, steelyard):
    (folder / ".steelyard" / "knowledge" / "default.db").write_bytes(b"no database" * 999)
    ran = steelyard("knowledge", "list")
    assert ran.code == 1
    assert "default.db: the database cannot be opened" in ran.err

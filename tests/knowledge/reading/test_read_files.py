"""The whole way with the real child: a folder of good and hostile files."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_files import PICTURE, docx, found, paragraph, pdf

from steelyard.knowledge.reading import (
    Document,
    Found,
    ReadingLimits,
    Unreadable,
    find_files,
    read_files,
)
from steelyard.knowledge.reading.supervise import WORKER

LIMITS = ReadingLimits(memory_bytes=600_000_000, seconds=30.0, characters=1_000_000)
GOOD: dict[str, bytes] = {
    "a.txt": b"Plain text",
    "b.md": b"---\ntitle: Handbook\n---\n# One\n\nText",
    "c.rst": b"Title\n=====\n\n.. include:: a.txt\n",
    "d.html": b"<h1>Page</h1><p>Text</p>",
    "e.csv": b"id,text\n1,one\n2,two\n",
    "f.jsonl": b'{"text": "only"}\n',
    "g.docx": docx(paragraph("Word text")),
    "h.pdf": pdf(["First", "Second"]),
    "sub/README": b"No suffix",
}


def bad_files() -> dict[str, bytes]:
    """Made when they are asked for: the bomb takes a moment to pack."""
    return {
        "bad/binary.txt": b"\x7fELF\0\0",
        "bad/bomb.docx": docx("", more={"word/document.xml": b" " * 60_000_000}),
        "bad/broken.pdf": pdf(["x"])[:80],
        "bad/cyrillic.txt": "Привет, мир".encode("cp1251"),
        "bad/deep.docx": docx("<w:p>" * 5000),
        "bad/empty.md": b"",
        "bad/laughs.docx": docx("", styles="<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"),
        "bad/line.txt": b"x" * 1_000_001,
        "bad/pictures.pdf": pdf([PICTURE]),
        "bad/unknown.xyz": b"?",
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read_all(
    files: list[Found], limits: ReadingLimits = LIMITS
) -> tuple[list[Document], dict[str, str]]:
    documents: list[Document] = []
    reasons: dict[str, str] = {}
    for file, part in read_files(files, limits):
        if isinstance(part, Unreadable):
            reasons[file.id] = part.reason
        else:
            documents += part
    return documents, reasons


def test_a_folder_of_good_and_hostile_files_is_read_to_its_end(tmp_path):
    bad = bad_files()
    write(tmp_path, GOOD | bad)
    files = [item for item in find_files([tmp_path]) if isinstance(item, Found)]
    documents, reasons = read_all(files)
    assert {document.id: document.text for document in documents} == {
        "a.txt": "Plain text",
        "b.md": "# One\n\nText",
        "c.rst": "Title\n=====\n\n.. include:: a.txt\n",
        "d.html": "Page\n\nText",
        "1": "one",
        "2": "two",
        "f.jsonl#1": "only",
        "g.docx": "Word text",
        "h.pdf": "First\n\nSecond",
        "sub/README": "No suffix",
    }
    assert set(reasons) == set(bad)
    assert documents[1].title == "Handbook"
    assert documents[-2].pages == (0, 7)


def test_a_file_that_needs_more_memory_than_allowed_is_told_and_the_next_one_read(tmp_path):
    write(tmp_path, {"a.txt": b"x" * 90_000_000, "b.txt": b"fine"})
    limits = ReadingLimits(memory_bytes=250_000_000, characters=100_000_000)
    documents, reasons = read_all([found(tmp_path / n) for n in ("a.txt", "b.txt")], limits)
    assert [document.text for document in documents] == ["fine"]
    assert "more than 250 MB of memory" in reasons["a.txt"]


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    write(tmp_path, {"a.txt": b"gone soon", "b.txt": b"fine"})
    files = [found(tmp_path / n) for n in ("a.txt", "b.txt")]
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.txt").mkdir()
    documents, reasons = read_all(files)
    assert [document.text for document in documents] == ["fine"]
    assert reasons == {
        "a.txt": "it cannot be opened (Is a directory). Check its permissions.",
    }


def test_the_rows_of_one_file_come_in_batches_in_their_order(tmp_path):
    rows = [{"id": n, "text": f"row {n}"} for n in range(1000)]
    write(tmp_path, {"a.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})
    batches = [part for _, part in read_files([found(tmp_path / "a.jsonl")], LIMITS)]
    assert all(isinstance(batch, list) for batch in batches)
    assert len(batches) > 5
    assert [document.id for batch in batches for document in batch] == [str(n) for n in range(1000)]


def test_metadata_and_offsets_survive_the_way_out_of_the_child(tmp_path):
    row = {"text": "# ünï 🙂\u2028", "tenant": "t", "user": "u", "valid_from": "2020", "x": [1, {}]}
    write(
        tmp_path,
        {
            "a.jsonl": codecs.BOM_UTF8 + json.dumps(row, ensure_ascii=False).encode(),
            "b.md": "text 🙂\n\n## Héad\n".encode(),
        },
    )
    (first, second), reasons = read_all([found(tmp_path / n) for n in ("a.jsonl", "b.md")])
    assert reasons == {}
    assert first == Document(
        id="a.jsonl#1",
        title="a",
        text="# ünï 🙂\u2028",
        format="jsonl",
        valid_from="2020-01-01",
        tenant="t",
        user="u",
        metadata={"x": [1, {}]},
    )
    (heading,) = second.headings
    assert second.text[heading.start :] == "Héad\n"


def test_the_child_can_open_no_connection_and_start_no_program():
    program = (
        "import sys, socket, subprocess, os\n"
        "from steelyard.knowledge.reading import ReadingLimits, worker\n"
        "worker._confine(ReadingLimits())\n"
        "def refused(call, *arguments):\n"
        "    try: call(*arguments)\n"
        "    except PermissionError: return True\n"
        "print(refused(socket.socket), refused(socket.getaddrinfo, 'localhost', 1),\n"
        "      refused(subprocess.run, ['true']), refused(os.system, 'true'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.split() == ["True"] * 4, ran.stderr


def test_the_child_loads_no_torch_and_no_module_from_the_folder_it_runs_in(tmp_path):
    (tmp_path / "pypdf.py").write_text("raise SystemExit('taken over')")
    program = (
        "import sys, runpy, os\n"
        "from steelyard.knowledge.reading.formats import read_documents\n"
        "from steelyard.knowledge.reading import worker\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "False"], ran.stderr
    (tmp_path / "a.pdf").write_bytes(pdf(["Words"]))
    code = (
        "from steelyard.knowledge.reading import find_files, read_files\n"
        "print([p[0].text for f, p in read_files(find_files(['a.pdf']))])"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.stdout.strip() == "['Words']", ran.stderr


def test_the_child_ends_when_its_parent_is_gone_even_while_it_reads(tmp_path):
    os.mkfifo(tmp_path / "never.txt")  # opening it waits for ever
    child = subprocess.Popen(
        [*WORKER, json.dumps({"seconds": 600.0})], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert json.loads(child.stdout.readline()) == {"ready": True}
        request = {"path": str(tmp_path / "never.txt"), "id": "never.txt"}
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        time.sleep(0.2)
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(timeout=30) == 0


# ---------------------------------------------------------------- the extra


def test_without_the_extra_its_types_are_told_with_the_name_of_it(tmp_path, monkeypatch):
    (tmp_path / "none").mkdir()
    (tmp_path / "none/kreuzberg.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path / "none"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    write(tmp_path, {"a.rtf": rb"{\rtf1 Hello}"})
    documents, reasons = read_all([found(tmp_path / "a.rtf")])
    assert documents == []
    assert "pip install 'steelyard[documents]'" in reasons["a.rtf"]


def test_with_the_extra_they_are_read_in_the_child_too(tmp_path):
    pytest.importorskip("kreuzberg", reason="the extra is not installed")
    write(
        tmp_path,
        {
            "a.rtf": rb"{\rtf1\ansi Hello world\par Second}",
            "b.org": b'#+TITLE: Title\n* Head\nText\n#+INCLUDE: "secret.org"\n',
            "c.rtf": b"",
            "d.odt": b"no zip at all",
            "e.py": b"import os\n",
            "secret.org": b"The secret",
        },
    )
    documents, reasons = read_all([found(path) for path in sorted(tmp_path.iterdir())])
    assert [document.text for document in documents] == [
        "Hello world\n\nSecond\n",
        "**TITLE**: Title\n\n# Head\n\nText\n",
        "The secret\n",
    ]
    assert documents[1].title == "Title"
    assert [heading.title for heading in documents[1].headings] == ["Head"]
    assert set(reasons) == {"c.rtf", "d.odt", "e.py"}
    assert 'files of type ".py" are not read' in reasons["e.py"]

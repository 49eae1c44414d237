"""How fast documents become a knowledge base, in how much memory, and whether that stays so.

    python bench/ingest.py --small          speed beside LlamaIndex, memory, cost per passage
    python bench/ingest.py --only cost      one of them, at full size

Speed: the Python documentation (--corpus) with all-MiniLM-L6-v2 on both sides, or where it is not
there the pages of this project. Ours begins with the file on disk and ends with text, words and
vectors in SQLite; LlamaIndex begins with the texts in memory.
Memory and cost: synthetic rows and vectors that cost nothing, so that only ours is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import growth
from steelyard.knowledge.base import Base
from steelyard.knowledge.ingest import update

CORPUS = Path(__file__).parents[2] / "shared" / "data" / "corpus_python_docs" / "corpus.jsonl"
DOCS = Path(__file__).parents[1] / "docs"
WORKS = ("speed", "memory", "cost")
SPEED_GOAL = 2.0  # times LlamaIndex
MEMORY_GOAL = 1.2  # times the peak, for ten times the documents
COST_GOAL = 1.5  # times the cost of a passage at 10,000. Source: ours, for "flat"
# With nodes of so many tokens SentenceSplitter's have as many words as our passages of this corpus.
SAME_SIZE = (144, 0)
WORDS_OF_ROW = 75
FILE_ROWS = 2_000
DIMENSIONS = 384


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    documents: int
    num_rounds: int
    memory_rows: int
    cost_passages: tuple[int, ...]
    cost_last: int  # passages at the end of each size whose cost is taken


SIZES = {
    False: Size(60, 3, 20_000, (10_000, 100_000, 1_000_000), 10_000),
    True: Size(6, 1, 1_000, (2_000, 20_000), 2_000),
}


@dataclass(frozen=True)
class FreeEmbedder:
    """Vectors that cost nothing to make and as much as others to keep."""

    fingerprint: str = "free"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), DIMENSIONS), DIMENSIONS**-0.5, dtype=np.float32)


# ---------------------------------------------------------------- speed


def rows_of_corpus(corpus: Path) -> list[dict[str, str]]:
    """The documents of a file, or where it is not there the pages of this project."""
    if corpus.exists():
        with corpus.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    print(f"{corpus} is not there: the pages of docs/ instead, which are fewer")
    return [
        {"id": page.stem, "text": page.read_text(encoding="utf-8")}
        for page in sorted(DOCS.glob("*.md"))
    ]


def speed(size: Size, corpus: Path) -> list[dict[str, Any]]:
    """Ours beside LlamaIndex: in passages of one size, and in words with its own settings."""
    import rounds
    from llama_index_peer import USUAL, LlamaIndex
    from rounds import Contender, Work
    from steelyard.models.places import embedder_folder

    rows = rows_of_corpus(corpus)
    chosen = random.Random(0).sample(rows, min(size.documents, len(rows)))
    texts = [row["text"] for row in chosen]
    num_words = sum(len(text.split()) for text in texts)
    peer = LlamaIndex(embedder_folder("default"))
    records = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "corpus.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
        same = [
            Contender(rounds.OURS, lambda: ours(path)[0]),
            Contender("llama-index", lambda: peer.ingest(texts, SAME_SIZE)),
        ]
        for contender in same:  # the sizes are near enough only if these are
            print(f"{contender.name}: {num_words / contender.work():.0f} words a passage")
        work = Work("ingest, passages of one size", "passages", goals={"llama-index": SPEED_GOAL})
        records.append(rounds.table(work, rounds.take_turns(same, size.num_rounds)))

        def usual() -> int:
            peer.ingest(texts, USUAL)
            return num_words

        def all_words() -> int:
            ours(path)
            return num_words

        contenders = [Contender(rounds.OURS, all_words), Contender("llama-index", usual)]
        work = Work("ingest, usual settings", "words")
        records.append(rounds.table(work, rounds.take_turns(contenders, size.num_rounds)))
    return records


def ours(path: Path, embedder: Any = None) -> tuple[int, float]:
    """Make a base of a file or folder: its passages, and the seconds it took."""
    if embedder is None:
        from steelyard.models import open_embedder

        embedder = open_embedder("default")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as place, Base(Path(place) / "base.db") as base:
        update(base, [path], embedder)
        return base.counts().num_passages, time.perf_counter() - started


# ---------------------------------------------------------------- memory


def memory(size: Size) -> list[dict[str, Any]]:
    """The peak of a fresh process for some rows, and for ten times as many: rows, then files."""
    import rounds

    records = []
    for kind in ("rows", "files"):
        few, many = (in_child(kind, n) for n in (size.memory_rows, 10 * size.memory_rows))
        times = many["peak MB"] / few["peak MB"]
        record = {"work": f"memory, {kind}", "few": few, "many": many, "times": times}
        record |= {"goal": MEMORY_GOAL, "met": times <= MEMORY_GOAL}
        records.append(record)
    lines = [["documents in", "few", "MB", "many", "MB", "ratio", "goal"]]
    for record in records:
        few, many = record["few"], record["many"]
        lines.append(
            [
                record["work"].removeprefix("memory, "),
                f"{few['documents']:,}",
                f"{few['peak MB']:.0f}",
                f"{many['documents']:,}",
                f"{many['peak MB']:.0f}",
                f"{record['times']:.2f}×",
                f"≤ {MEMORY_GOAL:g}×: {rounds.met(record)}",
            ]
        )
    rounds.print_lines("memory while ingesting", lines)
    return records


def in_child(kind: str, number: int) -> dict[str, float]:
    """What `child` prints."""
    ran = subprocess.run(
        [sys.executable, __file__, "--child", kind, str(number)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def child(kind: str, number: int) -> None:
    """Ingest so many documents, as rows of one file or a file each, and say the peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "rows":
            write_rows(folder / "rows.jsonl", rows_of(number))
        else:
            for i, row in enumerate(rows_of(number)):
                part = folder / str(i // 1000)
                part.mkdir(exist_ok=True)
                (part / f"{i}.txt").write_text(row["text"], encoding="utf-8")
        growth.forget_peak()
        _, seconds = ours(folder, FreeEmbedder())
        print(json.dumps({"documents": number, "peak MB": growth.peak_mb(), "seconds": seconds}))


# ---------------------------------------------------------------- cost


def cost(size: Size) -> list[dict[str, Any]]:
    """What the last passages cost in bases of growing size: read, cut, folded, written.

    Judged by processor time, which a busy neighbour changes less than the clock.
    """
    import rounds

    lines = [["passages", "ms of CPU", "times the first", "goal", "ms by the clock", "file MB"]]
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, Base(Path(name) / "base.db") as base:
        folder = Path(name) / "rows"
        folder.mkdir()
        made = rows_of(size.cost_passages[-1])
        before = 0
        for passages in size.cost_passages:
            add_rows(base, folder, made, passages - before - size.cost_last)
            spent = add_rows(base, folder, made, size.cost_last)
            before = passages
            milliseconds, clock_ms = (1000 * seconds / size.cost_last for seconds in spent)
            first = records[0]["cpu_ms"] if records else milliseconds
            record = {"work": "cost", "passages": passages, "cpu_ms": milliseconds}
            record |= {"ms": clock_ms, "times": milliseconds / first, "goal": COST_GOAL}
            record["met"] = record["times"] <= COST_GOAL
            records.append(record)
            lines.append(
                [
                    f"{passages:,}",
                    f"{milliseconds:.3f}",
                    f"{record['times']:.2f}×",
                    f"≤ {COST_GOAL:g}×: {rounds.met(record)}",
                    f"{clock_ms:.3f}",
                    f"{base.path.stat().st_size / 1e6:,.0f}",
                ]
            )
            print(f"{passages:,} passages: {milliseconds:.3f} ms", file=sys.stderr)
    rounds.print_lines("cost of a passage, its embedding left out", lines)
    return records


def add_rows(
    base: Base, folder: Path, made: Iterator[dict[str, str]], number: int
) -> tuple[float, float]:
    """Add so many more rows, in files of some: the seconds of CPU, children's too, and of the
    clock that adding took."""
    paths = []
    for start in range(0, number, FILE_ROWS):
        path = folder / f"{len(list(folder.iterdir()))}.jsonl"
        write_rows(path, (next(made) for _ in range(min(FILE_ROWS, number - start))))
        paths.append(path)
    started, busy = time.perf_counter(), sum(os.times()[:4])
    if paths:
        update(base, paths, FreeEmbedder())
    return sum(os.times()[:4]) - busy, time.perf_counter() - started


def rows_of(number: int) -> Iterator[dict[str, str]]:
    """Documents of one passage, with words as often as in a language; one in twenty is a copy."""
    source = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(50_000)])
    text = ""
    for i in range(number):
        if not text or i % 20:
            ranks = np.exp(source.random(WORDS_OF_ROW) * np.log(len(words))).astype(int)  # Zipf
            text = " ".join(words[ranks])
        yield {"id": f"d{i}", "text": text}


def write_rows(path: Path, made: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one round, fewer documents")
    parser.add_argument("--only", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--corpus", type=Path, default=CORPUS, metavar="JSONL")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]))
        return
    import rounds  # which loads torch, and that is more than a child holds

    print(rounds.machine())
    size = SIZES[options.small]
    records: list[dict[str, Any]] = []
    if "speed" in options.only:
        records += speed(size, options.corpus)
    if "memory" in options.only:
        records += memory(size)
    if "cost" in options.only:
        records += cost(size)
    rounds.save(options.json, records)


if __name__ == "__main__":
    main()

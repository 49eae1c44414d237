"""`pretrain`: documents → a tokenizer and a small model, and how well it foretells other text.

What the model is measured by is bits per byte: how many bits a text would take that is sent by
what the model expects, beside `xz -9` on the same text.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from steelyard.core import Json
from steelyard.errors import InputError, need
from steelyard.knowledge.reading import Unreadable, find_files, read_files
from steelyard.lifecycle.home import Home
from steelyard.training import Progress, train_in_child
from steelyard.training.job import CURVE_FILE
from steelyard.training.scratch import BLOCK_TOKENS, Course, ScratchJob, corpus_bytes
from steelyard.training.scratch.job import COURSE_FILE

HELD_OUT_SHARE = 0.05  # of the bytes
MOST_HELD_OUT_BYTES = 500_000  # a look takes seconds of every minute. Source: ours
XZ_PRESET = 9
XZ_WINDOW = 64 * 2**20  # bytes that preset 9 looks back; it cannot know what lies before them


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts to learn from and texts held out, and what could not be read."""

    documents: tuple[str, ...]
    held_out: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Xz:
    """Bits per byte of `xz -9`: of the held-out text alone, and of what it adds to the training
    text, which is nearer to what the model is asked (None: the training text is too long)."""

    alone: float
    after_training: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """What a look at some blocks of the held-out text found."""

    step: int
    epoch: float
    train_loss: float
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model folder, how it came about, and its bits per byte on documents it never saw."""

    folder: Path
    course: Course
    corpus: Corpus
    points: tuple[Point, ...]
    bits_per_byte: float
    best_step: int
    trouble: str | None
    xz: Xz
    seconds: float

    def to_json(self) -> Json:
        return {
            "folder": str(self.folder),
            "bits_per_byte": self.bits_per_byte,
            "best_step": self.best_step,
            "trouble": self.trouble,
            "xz": asdict(self.xz),
            "held_out": {
                "documents": len(self.corpus.held_out),
                "bytes": corpus_bytes(self.corpus.held_out),
            },
            "learned_from": {
                "documents": len(self.corpus.documents),
                "bytes": corpus_bytes(self.corpus.documents),
            },
            "choices": [asdict(choice) for choice in self.course.choices],
            "course": self.course.to_json(),
            "curve": [asdict(point) for point in self.points],
            "seconds": self.seconds,
            "notes": list(self.corpus.notes),
        }


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told: of the numbers chosen, and of every step with what it knows of bits per byte."""

    chosen: Callable[[Course], None] = lambda _: None
    stepped: Callable[[Progress], None] = lambda _: None


def pretrain(
    paths: Sequence[Path],
    home: Home,
    *,
    out: Path,
    minutes: float,
    layers: int | None = None,
    seed: int = 0,
    watcher: Watcher | None = None,
) -> Pretrained:
    """Train a tokenizer and a model on the documents of `paths`, and leave them in `out`.

    The same call goes on from where a killed one was.

    Raises:
        InputError: there is nothing to read or too little, or `out` is there already.
        TrainingError: there is not enough time for any training, or it failed.
    """
    for module in ("torch", "transformers", "tokenizers"):
        need(module, "torch")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"--out {out}: there is something already; name a folder that is not there"
        )
    corpus = read_corpus(paths, seed)
    job = ScratchJob(corpus.documents, corpus.held_out, minutes, layers, seed)
    folder = home.jobs / job.key
    watcher = watcher or Watcher()
    told = False

    def log(progress: Progress) -> None:
        nonlocal told
        if not told:
            watcher.chosen(_course(folder))
            told = True
        watcher.stepped(progress)

    trained = train_in_child(job, folder, log=log)
    course, curve = _course(folder), trained.curve
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        out.rmdir()
    shutil.move(trained.folder, out)
    (out / CURVE_FILE).unlink()
    shutil.rmtree(folder, ignore_errors=True)
    xz = xz_bits_per_byte(corpus)
    points = tuple(_point(point, curve) for point in curve["points"])
    bits = _bits_per_byte(curve["held_out_loss"], curve)
    return Pretrained(
        out, course, corpus, points, bits, curve["best_step"], curve["trouble"], xz, trained.seconds
    )


def _course(folder: Path) -> Course:
    return Course.from_json(json.loads((folder / COURSE_FILE).read_text(encoding="utf-8")))


def _point(plain: Json, curve: Json) -> Point:
    bits = _bits_per_byte(plain["held_out_loss"], curve)
    return Point(plain["step"], plain["epoch"], plain["train_loss"], bits)


def _bits_per_byte(nats_per_token: float, curve: Json) -> float:
    """Tokens are of different lengths, and bytes are not."""
    tokens_per_byte: float = curve["held_out_tokens"] / curve["held_out_bytes"]
    return nats_per_token / math.log(2) * tokens_per_byte


# ---------------------------------------------------------------- the corpus


def read_corpus(paths: Sequence[Path], seed: int) -> Corpus:
    """The documents of files and folders, equal ones once, and which of them are held out.

    Raises:
        InputError: no document can be read, or there are too few to hold one out.
    """
    texts: dict[str, str] = {}  # text → id
    notes: list[str] = []
    found = list(find_files(paths))
    refused = [one for one in found if isinstance(one, Unreadable)]
    for _, part in read_files(one for one in found if not isinstance(one, Unreadable)):
        if isinstance(part, Unreadable):
            refused.append(part)
            continue
        for document in part:
            if document.text.strip():
                texts.setdefault(document.text, document.id)
    notes += [f"{one.path}: {one.reason}" for one in refused]
    where = ", ".join(map(str, paths))
    if not texts:
        why = f" ({notes[0]})" if notes else ""
        raise InputError(
            f"{where}: no document with text could be read{why}; name some that hold text"
        )
    if corpus_bytes(list(texts)) < 2 * BLOCK_TOKENS:
        raise InputError(
            f"{where}: {corpus_bytes(list(texts)):,} bytes of text, which is less than a block of "
            f"{BLOCK_TOKENS} tokens to learn from and one to be held out; add documents"
        )
    if len(texts) == 1:
        [(text, id)] = texts.items()
        texts = _halves(text, id)
        notes.append(f"there is one document alone: the end of {id} is held out")
    documents, held_out = split(texts, seed)
    return Corpus(documents, held_out, tuple(notes))


def _halves(text: str, id: str) -> dict[str, str]:
    """One document as two, cut between lines: the second is small enough to be held out."""
    size = min(max(BLOCK_TOKENS, int(HELD_OUT_SHARE * len(text))), MOST_HELD_OUT_BYTES)
    line = text.rfind("\n", 0, len(text) - size) + 1
    cut = line if line > len(text) // 2 else len(text) - size
    return {text[:cut]: f"{id} (beginning)", text[cut:]: f"{id} (end)"}


def split(texts: dict[str, str], seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whole documents with a twentieth of the bytes are held out, by the hash of seed and id.

    `texts` are ids by text. One at least is held out, the smallest one where all are too large.
    """
    total = corpus_bytes(list(texts))
    wanted = min(HELD_OUT_SHARE * total, MOST_HELD_OUT_BYTES)
    sizes = {text: len(text.encode()) for text in texts}
    order = sorted(texts, key=lambda t: hashlib.sha256(f"{seed}:{texts[t]}".encode()).digest())
    held: set[str] = set()
    taken = 0
    for text in order:
        if taken >= wanted:
            break
        if taken + sizes[text] <= 2 * wanted:
            held.add(text)
            taken += sizes[text]
    if not held:
        held = {min(order, key=sizes.__getitem__)}
    kept = tuple(text for text in texts if text not in held)
    return kept, tuple(text for text in texts if text in held)


# ---------------------------------------------------------------- beside


def xz_bits_per_byte(corpus: Corpus) -> Xz:
    """`xz -9` on the held-out text, alone and after the training text."""
    held_out = "".join(corpus.held_out).encode()
    training = "".join(corpus.documents).encode()
    alone = 8 * _xz_bytes([held_out]) / len(held_out)
    if len(training) + len(held_out) > XZ_WINDOW:
        return Xz(alone, None)
    added = _xz_bytes([training, held_out]) - _xz_bytes([training])
    return Xz(alone, 8 * added / len(held_out))


def _xz_bytes(parts: Sequence[bytes]) -> int:
    compressor = lzma.LZMACompressor(preset=XZ_PRESET)
    return sum(len(compressor.compress(part)) for part in parts) + len(compressor.flush())

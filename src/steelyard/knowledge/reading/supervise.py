"""Reading files in a child process: one child for many files, a new one when it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from steelyard.core import Json
from steelyard.errors import WorkError
from steelyard.knowledge.reading.document import Document, Found, ReadingLimits, Unreadable

# -P: a folder of documents that happens to be the working directory is no place for modules.
WORKER = (sys.executable, "-P", "-m", "steelyard.knowledge.reading.worker")
PIPE_BYTES = 1 << 20
START_SECONDS = 60.0  # Source: ours; it takes 0.4 s on an idle machine
SAID_CHARACTERS = 300
# The most bytes that JSON takes for a character of a document: four in the text, four where it
# is part of a heading too, and what escapes and metadata add to them. Source: ours.
BYTES_PER_CHARACTER = 16


def read_files(
    files: Iterable[Found],
    limits: ReadingLimits | None = None,
    *,
    command: Sequence[str] = WORKER,
) -> Iterator[tuple[Found, list[Document] | Unreadable]]:
    """The documents of each file, in the order of the files.

    A file comes as one pair or more, one after the other (`itertools.groupby` by the first takes
    them together): its documents in batches, so that a file of a million rows needs no more
    memory than one of a hundred. An `Unreadable` is the last pair of its file, and says what of
    it is missing: all of it, unless documents came before.

    While the caller works on one file the child reads the next. `command` starts the child.

    Raises:
        WorkError: the child does not start; that is no fault of any file.
    """
    limits = limits or ReadingLimits()
    child: _Child | None = None
    try:
        for found, following in _with_following(files):
            child = child or _Child(command, limits)
            child.ask(found)
            if following is not None:
                child.ask(following)
            try:
                for part in child.answers():
                    yield found, part
            except _LostError as lost:
                child.end()
                child = None
                yield found, Unreadable(found.path, str(lost))
    finally:
        if child is not None:
            child.end()


def _with_following(files: Iterable[Found]) -> Iterator[tuple[Found, Found | None]]:
    iterator = iter(files)
    found = next(iterator, None)
    while found is not None:
        following = next(iterator, None)
        yield found, following
        found = following


class _LostError(Exception):
    """The child is of no more use; the message is the reason for the file it was at."""


class _Child:
    """A running child, and the files it was asked for and has not finished."""

    def __init__(self, command: Sequence[str], limits: ReadingLimits) -> None:
        self._limits = limits
        self._asked: list[Found] = []
        self._buffer = bytearray()
        self._most_bytes = limits.characters * BYTES_PER_CHARACTER + PIPE_BYTES
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed in end()
        self._process = subprocess.Popen(  # noqa: S603  our own module, no shell
            [*command, json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pipesize=PIPE_BYTES,
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        try:
            self._hear(START_SECONDS)
        except _LostError as lost:
            self.end()
            raise WorkError(f"the reading process does not start: {lost}") from None

    def ask(self, found: Found) -> None:
        """Ask for a file, unless it was asked for already."""
        if found in self._asked:
            return
        self._asked.append(found)
        assert self._process.stdin is not None
        request = json.dumps({"path": str(found.path), "id": found.id}) + "\n"
        with contextlib.suppress(BrokenPipeError):  # it is dead, and listening will tell
            self._process.stdin.write(request.encode())

    def answers(self) -> Iterator[list[Document] | Unreadable]:
        """The batches of the first file it was asked for.

        Raises:
            _LostError: the child died, hangs, or does not keep to the limits.
        """
        found = self._asked[0]
        while True:
            message = self._hear(self._limits.seconds)
            if "end" not in message:
                try:
                    documents = [Document.from_json(fields) for fields in message["documents"]]
                except (KeyError, TypeError, ValueError) as error:
                    raise _LostError(_nonsense(error)) from None
                yield documents
                continue
            if message.get("over"):
                raise _LostError(str(message["end"]))
            self._asked.pop(0)
            if message["end"] is not None:
                yield Unreadable(found.path, str(message["end"]))
            return

    def end(self) -> None:
        """Kill it, if it still runs, and leave nothing of it."""
        self._selector.close()
        with self._process, self._stderr:  # closes its pipes and waits for it
            self._process.kill()

    def _hear(self, seconds: float) -> dict[str, Json]:
        """The next message. Only time spent waiting here counts, not what the caller takes."""
        deadline = time.monotonic() + seconds
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > self._most_bytes:
                raise _LostError(
                    f"reading it gave more than the {self._limits.characters:,} characters that a "
                    "document may have. Split the file."
                )
            if not self._selector.select(max(deadline - time.monotonic(), 0)):
                raise _LostError(
                    f"reading it took longer than {seconds:g} seconds. "
                    "Split the file, or save it in a simpler form."
                )
            data = os.read(self._output.fileno(), PIPE_BYTES)
            if not data:
                raise _LostError(self._last_words())
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message = json.loads(line)
        except ValueError as error:
            raise _LostError(_nonsense(error)) from None
        if not isinstance(message, dict):
            raise _LostError(_nonsense(type(message).__name__))
        return message

    def _last_words(self) -> str:
        code = self._process.wait()
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        said = f", saying: {lines[-1][:SAID_CHARACTERS]}" if lines else ""
        return (
            f"the reading process died on it ({ended}{said}). "
            "Save the file again from the program it came from, or leave it out."
        )


def _nonsense(what: object) -> str:
    return (
        f"the reading process answered nonsense ({str(what)[:SAID_CHARACTERS]}). "
        "Save the file again from the program it came from, or leave it out."
    )

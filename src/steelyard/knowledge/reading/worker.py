"""The reading child: `python -m steelyard.knowledge.reading.worker LIMITS`.

Reads requests from standard input and answers on standard output, both as JSON lines:

    {"path": "/docs/a.md", "id": "a.md"}  →  {"documents": [[…], …]}, any number of times
                                             {"end": null} or {"end": "why it was not read"}

A last `{"end": "…", "over": true}` says that this child has to be replaced. It ends when its
standard input closes, even while it parses: a parent that was killed leaves no orphan behind.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
import warnings
from pathlib import Path
from typing import BinaryIO

from steelyard.core import Json
from steelyard.errors import DataError
from steelyard.knowledge.reading.document import ReadingLimits
from steelyard.knowledge.reading.formats import read_documents
from steelyard.knowledge.reading.source import Source

# A batch is sent when it holds so many documents or characters. Source: ours; larger ones are
# not read faster and are held in memory on both sides.
BATCH_DOCUMENTS = 64
BATCH_CHARACTERS = 250_000
STDERR_BYTES = 1_000_000
_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn")


def main(limits: ReadingLimits) -> int:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    warnings.simplefilter("ignore")
    _confine(limits)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=[requests], daemon=True).start()
    _say(answers, {"ready": True})
    while True:
        request = json.loads(requests.get())
        source = Source(Path(request["path"]), request["id"], limits)
        _allow_processor_time(limits)
        try:
            _read(source, answers)
        except DataError as error:
            _say(answers, {"end": str(error)})
        except MemoryError:
            millions = limits.memory_bytes // 1_000_000
            reason = f"reading it takes more than {millions:,} MB of memory. Split the file."
            _say(answers, {"end": reason, "over": True})
            return 1
        else:
            _say(answers, {"end": None})


def _read(source: Source, answers: BinaryIO) -> None:
    batch: list[Json] = []
    characters = 0
    try:
        for document in read_documents(source):
            batch.append(document.to_json())
            characters += len(document.text)
            if len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
                _say(answers, {"documents": batch})
                _allow_processor_time(source.limits)
                batch, characters = [], 0
    finally:
        if batch:  # also what came before the error
            _say(answers, {"documents": batch})


def _say(answers: BinaryIO, message: Json) -> None:
    answers.write(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    answers.flush()


def _listen(requests: queue.SimpleQueue[bytes]) -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)  # the parent has all it wants, or is gone


def _confine(limits: ReadingLimits) -> None:
    """Limits that a hostile file cannot talk its way around, and no network, no programs."""
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (STDERR_BYTES, STDERR_BYTES))
    sys.dont_write_bytecode = True
    sys.addaudithook(_forbid)


def _forbid(event: str, _arguments: object) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"{event} is forbidden while documents are read")


def _allow_processor_time(limits: ReadingLimits) -> None:
    """Let the system end this process if it computes on and its parent is no longer there."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + 4 * limits.seconds) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main(ReadingLimits(**json.loads(sys.argv[1]))))

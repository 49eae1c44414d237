"""An uploaded file on its way to disk, within its size and time."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from steelyard.errors import RequestError
from steelyard.lifecycle import uploads
from steelyard.serve.gate import READ_SECONDS, too_large, too_slow
from steelyard.serve.multipart import Form, boundary_of
from steelyard.serve.service import client_left, service_of

MAX_UPLOAD_BYTES = 512_000_000  # as OpenAI has it
UPLOAD_SECONDS = 3600.0  # for all of it; the next piece must come within READ_SECONDS
PIECE_BYTES = 1_000_000  # taken to disk at once


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came whole, under a name that only its sender knows, and the other fields."""

    path: Path
    name: str
    fields: dict[str, str]


@asynccontextmanager
async def uploaded(request: Request) -> AsyncIterator[Upload]:
    """The file of a form, for the time of the block; whoever keeps it moves it away.

    Raises:
        RequestError: it is too large or too slow, no form, or the disk is full.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_UPLOAD_BYTES:
        raise too_large(MAX_UPLOAD_BYTES)
    boundary = boundary_of(request.headers.get("content-type", ""))
    path: Path | None = None
    try:
        path = await asyncio.to_thread(uploads.begin_upload, service_of(request).home)
        yield await _received(request, boundary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise RequestError(
            "there is no room for the file on this server; delete others, or ask who runs it",
            status=507,
            code="not_kept",
        ) from error
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


async def _received(request: Request, boundary: bytes, path: Path) -> Upload:
    deadlines = service_of(request).deadlines
    size, waiting = 0, bytearray()
    pieces = request.stream()
    with path.open("wb") as file:
        form = Form(boundary, file)
        try:
            with deadlines.within(UPLOAD_SECONDS):
                while True:
                    with deadlines.within(READ_SECONDS):
                        piece = await anext(pieces, None)
                    if piece is not None:
                        size += len(piece)
                        if size > MAX_UPLOAD_BYTES:
                            raise too_large(MAX_UPLOAD_BYTES)
                        waiting += piece
                    if waiting and (piece is None or len(waiting) >= PIECE_BYTES):
                        await asyncio.to_thread(form.feed, bytes(waiting))
                        waiting.clear()
                    if piece is None:
                        break
        except TimeoutError:
            raise too_slow(READ_SECONDS) from None
        except ClientDisconnect:
            raise client_left() from None
        form.end()
    return Upload(path, form.file_name or "", form.fields)

"""`/v1/files`: what is learned from, and what is searched in."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from steelyard.core import Json
from steelyard.errors import InputError, RequestError
from steelyard.lifecycle import uploads
from steelyard.serve import wire
from steelyard.serve.encoding import JsonReply
from steelyard.serve.listing import Ordered, listed, unix
from steelyard.serve.multipart import FILE
from steelyard.serve.routing import Router, invalid
from steelyard.serve.service import Service, service_of
from steelyard.serve.uploading import uploaded
from steelyard.store.files import StoredFile

router = Router()


class FileForm(wire.Strict):
    """A form with a file, and what it is for."""

    file: bytes
    purpose: str


class FileListing(Ordered):
    """Which files are listed."""

    limit: int = Field(10_000, ge=1, le=10_000)
    purpose: str | None = None


@router.upload("/v1/files", FileForm)
async def create(request: Request) -> Response:
    """Take in a file; one to learn from is checked line by line."""
    service = service_of(request)
    async with uploaded(request) as upload:
        try:
            asked = FileForm.model_validate({**upload.fields, FILE: b""})
        except ValidationError as error:
            raise invalid(error) from None
        try:
            uploads.check_purpose(asked.purpose)
        except InputError as error:
            raise RequestError(str(error), code="invalid_value", param="purpose") from None
        try:
            file = await asyncio.to_thread(
                uploads.keep, service.home, upload.path, name=upload.name, purpose=asked.purpose
            )
        except InputError as error:
            told = f"Invalid file format. {error}"
            raise RequestError(told, code="invalid_file_format", param="file") from None
    return JsonReply(file_body(file))


@router.get("/v1/files", query=FileListing)
async def list_files(asked: FileListing, request: Request) -> Response:
    """The files that were uploaded, and those that jobs wrote."""
    files = service_of(request).home.files.all(asked.purpose)
    return JsonReply(listed([file_body(file) for file in files], asked))


@router.get("/v1/files/{name}")
async def show(request: Request) -> Response:
    """One of them."""
    return JsonReply(file_body(find_file(service_of(request), request.path_params["name"])))


@router.get("/v1/files/{name}/content")
async def content(request: Request) -> Response:
    """Its bytes, as they came."""
    service = service_of(request)
    file = find_file(service, request.path_params["name"])
    return FileResponse(
        uploads.path_of(service.home, file),
        media_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff"},
    )


@router.delete("/v1/files/{name}")
async def delete(request: Request) -> Response:
    """Remove it, from every vector store too; jobs that were made with it go on."""
    service = service_of(request)
    file = find_file(service, request.path_params["name"])
    await asyncio.to_thread(service.stores.forget_file, file)
    await asyncio.to_thread(uploads.remove, service.home, file)
    return JsonReply({"id": file.id, "object": "file", "deleted": True})


def find_file(service: Service, id: str, param: str = "id") -> StoredFile:
    """The file of an id.

    Raises:
        RequestError: there is none.
    """
    file = service.home.files.find(id)
    if file is None:
        status = 404 if param == "id" else 400
        raise RequestError(f"No such File object: {id[:100]}", status=status, param=param)
    return file


def file_body(file: StoredFile) -> dict[str, Json]:
    """A file as the hosted API shows it."""
    body: dict[str, Any] = {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": unix(file.created_at),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": None,
        "status_details": None,
    }
    return body

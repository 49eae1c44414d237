"""`/v1/vector_stores/{name}/files` and `file_batches`: what is searched, and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json
from steelyard.errors import RequestError
from steelyard.serve import wire
from steelyard.serve.encoding import JsonReply
from steelyard.serve.listing import Ordered, listed, unix
from steelyard.serve.routes.files import find_file
from steelyard.serve.routes.vector_stores import MOST_FILES, Cutting, Ids, Text, counts, find_store
from steelyard.serve.routing import Router
from steelyard.serve.service import Service, service_of
from steelyard.store.files import StoredFile, new_id
from steelyard.store.vector_stores import Member, VectorStore

router = Router()

Attributes = Annotated[dict[str, Text | bool | float], Field(max_length=16)]


class MemberRequest(wire.Strict):
    """A file for a store."""

    file_id: wire.Name
    attributes: Attributes | None = None
    chunking_strategy: Cutting | None = None


class MemberChange(wire.Strict):
    """What a file is filtered by from now on."""

    attributes: Attributes | None


class BatchRequest(wire.Strict):
    """Several files for a store: ids that share attributes, or files with their own."""

    file_ids: Ids | None = None
    files: Annotated[list[MemberRequest], Field(max_length=MOST_FILES)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: Cutting | None = None


class MemberListing(Ordered):
    """Which files of a store are listed."""

    filter: Literal["in_progress", "completed", "failed", "cancelled"] | None = None


@router.post("/v1/vector_stores/{name}/files", MemberRequest)
async def add(asked: MemberRequest, request: Request) -> Response:
    """Have a file taken up; its status says when it is."""
    service, store = service_of(request), find_store(request)
    file = find_file(service, asked.file_id, "file_id")
    await asyncio.to_thread(service.stores.put, store, [file], asked.attributes or {})
    return JsonReply(_member(service, _member_of(service, store, file.id)))


@router.get("/v1/vector_stores/{name}/files", query=MemberListing)
async def list_members(asked: MemberListing, request: Request) -> Response:
    """The files of a store, the newest first."""
    service = service_of(request)
    members = service.home.vector_stores.members(find_store(request).id)
    shown = [_member(service, one) for one in members if asked.filter in (None, one.status)]
    return JsonReply(listed(shown, asked))


@router.get("/v1/vector_stores/{name}/files/{file}")
async def show_member(request: Request) -> Response:
    """How far a file is taken up, or why it could not be."""
    return JsonReply(_member(service_of(request), _asked_member(request)))


@router.post("/v1/vector_stores/{name}/files/{file}", MemberChange)
async def change_member(asked: MemberChange, request: Request) -> Response:
    """Give a file other attributes."""
    service, member = service_of(request), _asked_member(request)
    service.home.vector_stores.describe(member.store, member.file, asked.attributes or {})
    return JsonReply(_member(service, _asked_member(request)))


@router.get("/v1/vector_stores/{name}/files/{file}/content")
async def content(request: Request) -> Response:
    """What is searched of a file, passage by passage."""
    service, member = service_of(request), _asked_member(request)
    found = await asyncio.to_thread(service.stores.passages, member)
    data = [{"type": "text", "text": passage.text} for passage in found]
    return JsonReply(
        {
            "object": "vector_store.file_content.page",
            "data": data,
            "has_more": False,
            "next_page": None,
        }
    )


@router.delete("/v1/vector_stores/{name}/files/{file}")
async def take_out(request: Request) -> Response:
    """Take a file out of a store; the file itself stays."""
    service, member = service_of(request), _asked_member(request)
    await asyncio.to_thread(service.stores.take_out, member)
    body = {"id": member.file, "object": "vector_store.file.deleted", "deleted": True}
    return JsonReply(body)


@router.post("/v1/vector_stores/{name}/file_batches", BatchRequest)
async def add_batch(asked: BatchRequest, request: Request) -> Response:
    """Have several files taken up."""
    service, store = service_of(request), find_store(request)
    if (asked.file_ids is None) == (asked.files is None):
        raise RequestError("expected file_ids or files", code="invalid_value", param="file_ids")
    given = asked.files or [
        MemberRequest(file_id=id, attributes=asked.attributes) for id in asked.file_ids or ()
    ]
    found = [(find_file(service, one.file_id, "file_ids"), one.attributes or {}) for one in given]
    batch = new_id("vsfb_")
    await asyncio.to_thread(_put_all, service, store, found, batch)
    return JsonReply(_batch(service, store, batch))


def _put_all(
    service: Service,
    store: VectorStore,
    found: Sequence[tuple[StoredFile, dict[str, Json]]],
    batch: str,
) -> None:
    for file, attributes in found:
        service.stores.put(store, [file], attributes, batch=batch)


@router.get("/v1/vector_stores/{name}/file_batches/{batch}")
async def show_batch(request: Request) -> Response:
    """How far the files of a batch are taken up."""
    service, store = service_of(request), find_store(request)
    return JsonReply(_batch(service, store, request.path_params["batch"]))


@router.get("/v1/vector_stores/{name}/file_batches/{batch}/files", query=MemberListing)
async def list_batch(asked: MemberListing, request: Request) -> Response:
    """The files of a batch."""
    service, store = service_of(request), find_store(request)
    members = _members_of_batch(service, store, request.path_params["batch"])
    shown = [_member(service, one) for one in members if asked.filter in (None, one.status)]
    return JsonReply(listed(shown, asked))


@router.post("/v1/vector_stores/{name}/file_batches/{batch}/cancel")
async def cancel_batch(request: Request) -> Response:
    """Leave the files of a batch that are not taken up yet."""
    service, store = service_of(request), find_store(request)
    batch = request.path_params["batch"]
    for member in _members_of_batch(service, store, batch):
        service.home.vector_stores.end(member, "cancelled")
    return JsonReply(_batch(service, store, batch))


# ---------------------------------------------------------------- what is found


def _asked_member(request: Request) -> Member:
    return _member_of(service_of(request), find_store(request), request.path_params["file"])


def _member_of(service: Service, store: VectorStore, file: str) -> Member:
    found = service.home.vector_stores.members(store.id, file=file)
    if not found:
        told = f"No file found with id '{file[:100]}' in vector store '{store.id}'."
        raise RequestError(told, status=404, param="file_id")
    return found[0]


def _members_of_batch(service: Service, store: VectorStore, batch: str) -> list[Member]:
    members = service.home.vector_stores.members(store.id)
    found = [one for one in members if batch and one.batch == batch]
    if not found:
        told = f"No file batch found with id '{batch[:100]}' in vector store '{store.id}'."
        raise RequestError(told, status=404, param="batch_id")
    return found


# ---------------------------------------------------------------- what is said


def _member(service: Service, member: Member) -> dict[str, Json]:
    error = None
    if member.error is not None:
        error = {"code": _error_code(service, member), "message": member.error}
    return {
        "id": member.file,
        "object": "vector_store.file",
        "created_at": unix(member.created_at),
        "vector_store_id": member.store,
        "status": member.status,
        "last_error": error,
        "usage_bytes": member.size_bytes,
        "attributes": member.attributes,
        "chunking_strategy": {"type": "other"},
    }


def _error_code(service: Service, member: Member) -> str:
    from steelyard.knowledge.reading.formats import READERS  # with all its readers

    file = service.home.files.find(member.file)
    known = file is None or Path(file.name).suffix.lower() in READERS
    return "invalid_file" if known else "unsupported_file"


def _batch(service: Service, store: VectorStore, batch: str) -> dict[str, Json]:
    members = _members_of_batch(service, store, batch)
    counted = counts(members)
    ended = "cancelled" if counted["cancelled"] else "completed"
    return {
        "id": batch,
        "object": "vector_store.files_batch",
        "created_at": min(unix(one.created_at) for one in members),
        "vector_store_id": store.id,
        "status": "in_progress" if counted["in_progress"] else ended,
        "file_counts": counted,
    }

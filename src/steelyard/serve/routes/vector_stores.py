"""`/v1/vector_stores`: uploaded files, searched by words and by meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json
from steelyard.errors import BusyError, RequestError
from steelyard.lifecycle.vector_stores import Hit
from steelyard.serve import wire
from steelyard.serve.calls import too_busy
from steelyard.serve.encoding import JsonReply
from steelyard.serve.filters import Filter, wants
from steelyard.serve.listing import Ordered, listed, unix
from steelyard.serve.routes.files import find_file
from steelyard.serve.routing import Router
from steelyard.serve.service import Service, service_of
from steelyard.store.files import StoredFile, new_id
from steelyard.store.vector_stores import Member, VectorStore

router = Router()

MOST_FILES = 500  # of one request, as OpenAI has it
MOST_QUERIES = 16

Text = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[str, Text], Field(max_length=16)]
Attributes = Annotated[dict[str, Text | bool | float], Field(max_length=16)]
Ids = Annotated[list[wire.Name], Field(max_length=MOST_FILES)]
STATUSES = ("in_progress", "completed", "failed", "cancelled")


class Cutting(wire.Strict):
    """How files are cut: at their own paragraphs."""

    type: Literal["auto"]


class StoreRequest(wire.Strict):
    """A new store, perhaps with files."""

    name: Text | None = None
    description: Text | None = None
    file_ids: Ids | None = None
    metadata: Metadata | None = None
    chunking_strategy: Cutting | None = None


class StoreChange(wire.Strict):
    """What of a store is to be another."""

    name: Text | None = None
    metadata: Metadata | None = None


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


class Ranking(wire.Strict):
    """How passages are put in order, and how good they must be."""

    ranker: Literal["auto", "none", "default-2024-11-15", "default_2024_08_21"] = "auto"
    score_threshold: float = Field(0.0, ge=0, le=1)


class SearchRequest(wire.Strict):
    """What is looked for, and in which files."""

    query: str | Annotated[list[str], Field(min_length=1, max_length=MOST_QUERIES)]
    filters: Filter | None = None
    max_num_results: int = Field(10, ge=1, le=50)
    ranking_options: Ranking | None = None
    rewrite_query: Literal[False] | None = None


# ---------------------------------------------------------------- stores


@router.post("/v1/vector_stores", StoreRequest)
async def create(asked: StoreRequest, request: Request) -> Response:
    """A new store; its files are taken up one after the other."""
    service = service_of(request)
    files = [find_file(service, id, "file_ids") for id in asked.file_ids or ()]
    store = await asyncio.to_thread(service.stores.create, asked.name or "", asked.metadata or {})
    await asyncio.to_thread(service.stores.put, store, files, {})
    return JsonReply(_store(service, store))


@router.get("/v1/vector_stores", query=Ordered)
async def list_stores(asked: Ordered, request: Request) -> Response:
    """The stores, the newest first."""
    service = service_of(request)
    stores = [_store(service, store) for store in service.home.vector_stores.all()]
    return JsonReply(listed(stores, asked))


@router.get("/v1/vector_stores/{name}")
async def show(request: Request) -> Response:
    """One of them, with how many of its files are taken up."""
    return JsonReply(_store(service_of(request), _find(request)))


@router.post("/v1/vector_stores/{name}", StoreChange)
async def change(asked: StoreChange, request: Request) -> Response:
    """Give it another name, or other metadata."""
    service, store = service_of(request), _find(request)
    name = store.name if asked.name is None else asked.name
    metadata = store.metadata if asked.metadata is None else asked.metadata
    service.home.vector_stores.change(store.id, name, metadata)
    return JsonReply(_store(service, _find(request)))


@router.delete("/v1/vector_stores/{name}")
async def delete(request: Request) -> Response:
    """Remove it; the files stay."""
    service, store = service_of(request), _find(request)
    await asyncio.to_thread(service.stores.remove, store)
    return JsonReply({"id": store.id, "object": "vector_store.deleted", "deleted": True})


@router.post("/v1/vector_stores/{name}/search", SearchRequest)
async def search(asked: SearchRequest, request: Request) -> Response:
    """The passages that fit best, best first."""
    service, store = service_of(request), _find(request)
    queries = [asked.query] if isinstance(asked.query, str) else asked.query
    if not all(query.strip() for query in queries):
        raise RequestError("the query is empty", code="no_input", param="query")
    try:
        found = await asyncio.to_thread(
            service.stores.search,
            *(store, queries, asked.max_num_results),
            lambda attributes: asked.filters is None or wants(asked.filters, attributes),
        )
    except BusyError as error:
        raise too_busy(str(error)) from error
    floor = 0.0 if asked.ranking_options is None else asked.ranking_options.score_threshold
    return JsonReply(
        {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [_hit(service, hit) for hit in found if hit.score >= floor],
            "has_more": False,
            "next_page": None,
        }
    )


# ---------------------------------------------------------------- their files


@router.post("/v1/vector_stores/{name}/files", MemberRequest)
async def add(asked: MemberRequest, request: Request) -> Response:
    """Have a file taken up; its status says when it is."""
    service, store = service_of(request), _find(request)
    file = find_file(service, asked.file_id, "file_id")
    await asyncio.to_thread(service.stores.put, store, [file], asked.attributes or {})
    return JsonReply(_member(service, _member_of(service, store, file.id)))


@router.get("/v1/vector_stores/{name}/files", query=MemberListing)
async def list_members(asked: MemberListing, request: Request) -> Response:
    """The files of a store, the newest first."""
    service = service_of(request)
    members = service.home.vector_stores.members(_find(request).id)
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
    service, store = service_of(request), _find(request)
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
    service, store = service_of(request), _find(request)
    return JsonReply(_batch(service, store, request.path_params["batch"]))


@router.get("/v1/vector_stores/{name}/file_batches/{batch}/files", query=MemberListing)
async def list_batch(asked: MemberListing, request: Request) -> Response:
    """The files of a batch."""
    service, store = service_of(request), _find(request)
    members = _members_of_batch(service, store, request.path_params["batch"])
    shown = [_member(service, one) for one in members if asked.filter in (None, one.status)]
    return JsonReply(listed(shown, asked))


@router.post("/v1/vector_stores/{name}/file_batches/{batch}/cancel")
async def cancel_batch(request: Request) -> Response:
    """Leave the files of a batch that are not taken up yet."""
    service, store = service_of(request), _find(request)
    batch = request.path_params["batch"]
    for member in _members_of_batch(service, store, batch):
        service.home.vector_stores.end(member, "cancelled")
    return JsonReply(_batch(service, store, batch))


# ---------------------------------------------------------------- what is found


def _find(request: Request) -> VectorStore:
    """The store of the path.

    Raises:
        RequestError: there is none.
    """
    id = request.path_params["name"]
    store = service_of(request).home.vector_stores.find(id)
    if store is None:
        told = f"Vector store with id '{id[:100]}' not found."
        raise RequestError(told, status=404, param="vector_store_id")
    return store


def _asked_member(request: Request) -> Member:
    return _member_of(service_of(request), _find(request), request.path_params["file"])


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


def _store(service: Service, store: VectorStore) -> dict[str, Json]:
    members = service.home.vector_stores.members(store.id)
    counts = _counts(members)
    return {
        "id": store.id,
        "object": "vector_store",
        "name": store.name,
        "created_at": unix(store.created_at),
        "last_active_at": unix(store.active_at),
        "status": "in_progress" if counts["in_progress"] else "completed",
        "file_counts": counts,
        "usage_bytes": sum(one.size_bytes for one in members),
        "metadata": store.metadata,
        "expires_after": None,
        "expires_at": None,
    }


def _counts(members: list[Member]) -> dict[str, int]:
    counts = {status: sum(one.status == status for one in members) for status in STATUSES}
    return {**counts, "total": len(members)}


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
    counts = _counts(members)
    ended = "cancelled" if counts["cancelled"] else "completed"
    return {
        "id": batch,
        "object": "vector_store.files_batch",
        "created_at": min(unix(one.created_at) for one in members),
        "vector_store_id": store.id,
        "status": "in_progress" if counts["in_progress"] else ended,
        "file_counts": counts,
    }


def _hit(service: Service, hit: Hit) -> dict[str, Json]:
    file = service.home.files.find(hit.member.file)
    passage = hit.passage
    body: dict[str, Any] = {
        "file_id": hit.member.file,
        "filename": "" if file is None else file.name,
        "score": round(hit.score, 6),
        "attributes": hit.member.attributes,
        "content": [{"type": "text", "text": passage.text}],
    }
    body["steelyard"] = {"start": passage.start, "end": passage.end, "page": passage.page}
    return body

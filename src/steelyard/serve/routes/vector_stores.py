"""`/v1/vector_stores`: uploaded files, searched by words and by meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from steelyard.store.vector_stores import Member, VectorStore

router = Router()

MOST_FILES = 500  # of one request, as OpenAI has it
MOST_QUERIES = 16

Text = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[str, Text], Field(max_length=16)]
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
    return JsonReply(_store(service_of(request), find_store(request)))


@router.post("/v1/vector_stores/{name}", StoreChange)
async def change(asked: StoreChange, request: Request) -> Response:
    """Give it another name, or other metadata."""
    service, store = service_of(request), find_store(request)
    name = store.name if asked.name is None else asked.name
    metadata = store.metadata if asked.metadata is None else asked.metadata
    service.home.vector_stores.change(store.id, name, metadata)
    return JsonReply(_store(service, find_store(request)))


@router.delete("/v1/vector_stores/{name}")
async def delete(request: Request) -> Response:
    """Remove it; the files stay."""
    service, store = service_of(request), find_store(request)
    await asyncio.to_thread(service.stores.remove, store)
    return JsonReply({"id": store.id, "object": "vector_store.deleted", "deleted": True})


@router.post("/v1/vector_stores/{name}/search", SearchRequest)
async def search(asked: SearchRequest, request: Request) -> Response:
    """The passages that fit best, best first."""
    service, store = service_of(request), find_store(request)
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


# ---------------------------------------------------------------- what is found


def find_store(request: Request) -> VectorStore:
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


# ---------------------------------------------------------------- what is said


def _store(service: Service, store: VectorStore) -> dict[str, Json]:
    members = service.home.vector_stores.members(store.id)
    counted = counts(members)
    return {
        "id": store.id,
        "object": "vector_store",
        "name": store.name,
        "created_at": unix(store.created_at),
        "last_active_at": unix(store.active_at),
        "status": "in_progress" if counted["in_progress"] else "completed",
        "file_counts": counted,
        "usage_bytes": sum(one.size_bytes for one in members),
        "metadata": store.metadata,
        "expires_after": None,
        "expires_at": None,
    }


def counts(members: Sequence[Member]) -> dict[str, int]:
    """How many files have which status."""
    found = {status: sum(one.status == status for one in members) for status in STATUSES}
    return {**found, "total": len(members)}


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

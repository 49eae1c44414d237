"""`/v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json, Usage
from steelyard.errors import BusyError, RequestError
from steelyard.lifecycle.engine import Work
from steelyard.models import Listen
from steelyard.serve import wire
from steelyard.serve.calls import as_request_error, too_busy
from steelyard.serve.catalogue import Embedding
from steelyard.serve.encoding import JsonReply
from steelyard.serve.routing import Router
from steelyard.serve.service import service_of
from steelyard.serve.tracing import Span

router = Router()
MOST_TEXTS = 2048  # as OpenAI has it


class EmbeddingRequest(wire.Strict):
    """Texts to be made vectors."""

    model: wire.Name
    input: str | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None


@router.post("/v1/embeddings", EmbeddingRequest)
async def embed(asked: EmbeddingRequest, request: Request) -> Response:
    """A vector of length 1 for each text."""
    service = service_of(request)
    model = await service.catalogue.find(asked.model)
    if not isinstance(model, Embedding):
        raise RequestError(
            f"{asked.model} is no embedder", code="model_not_supported", param="model"
        )
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    embedder = model.embedder

    def do(items: Sequence[list[str]], _listen: Listen) -> list[tuple[NDArray[np.float32], int]]:
        vectors = embedder.embed([text for item in items for text in item])
        ends = np.cumsum([len(item) for item in items])[:-1]
        counts = [sum(embedder.count_tokens(item)) for item in items]
        return list(zip(np.split(vectors, ends), counts, strict=True))

    span = service.span(request, asked)
    try:
        future = service.engine.submit(Work(embedder, texts, do))
        vectors, tokens = await asyncio.wrap_future(future)
    except BusyError as error:
        raise _failed(span, too_busy(str(error))) from error
    except Exception as error:
        raise _failed(span, as_request_error(error)) from error
    if not np.isfinite(vectors).all():  # JSON would say null in its place
        told = f"{model.name} gave a vector with numbers that are none"
        raise _failed(span, RequestError(told, status=500, code="no_vector"))
    if span is not None:
        span.ended("", model.name, Usage(tokens))
    if asked.dimensions not in (None, vectors.shape[1]):
        raise RequestError(
            f"{asked.model} has {vectors.shape[1]} dimensions and no fewer",
            code="unsupported_parameter",
            param="dimensions",
        )
    key = request.scope.get("steelyard.key")
    if key is not None:
        service.limits.take_tokens(key, tokens)
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, asked)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JsonReply({"object": "list", "data": data, "model": model.name, "usage": usage})


def _failed(span: Span | None, error: RequestError) -> RequestError:
    if span is not None:
        span.failed(error.code or "error")
    return error


def _written(vector: NDArray[np.float32], asked: EmbeddingRequest) -> Json:
    """Numbers, or their bytes in the order that clients read them in."""
    if asked.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()

"""A module for each family of routes; `ROUTERS` are those that a server has."""

from steelyard.serve.routes import (
    chat,
    completions,
    embeddings,
    feedback,
    models,
    responses,
    status,
)

ROUTERS = (
    chat.router,
    completions.router,
    responses.router,
    embeddings.router,
    models.router,
    feedback.router,
    status.router,
)

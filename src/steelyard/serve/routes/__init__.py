"""A module for each family of routes; `ROUTES` are those that a server has."""

from steelyard.serve.routes import (
    chat,
    completions,
    embeddings,
    feedback,
    models,
    responses,
    status,
)

FAMILIES = (chat, completions, responses, embeddings, models, feedback, status)
ROUTES = tuple(route for family in FAMILIES for route in family.router.routes)

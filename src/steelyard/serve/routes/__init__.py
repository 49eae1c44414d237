"""A module for each family of routes; `ROUTES` are those that a server has."""

from steelyard.serve.routes import (
    chat,
    completions,
    embeddings,
    feedback,
    files,
    fine_tuning,
    models,
    responses,
    status,
    vector_store_files,
    vector_stores,
)

FAMILIES = (
    *(chat, completions, responses, embeddings, models),
    *(files, fine_tuning, vector_stores, vector_store_files),
    *(feedback, status),
)
ROUTES = tuple(route for family in FAMILIES for route in family.router.routes)

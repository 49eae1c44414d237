"""A system whose passages hold a sentence more, to see what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from steelyard.core import Passage, Query, System
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.finding import Finder
from steelyard.recipes.prompt import Part
from steelyard.recipes.sections import SectionedSystem


def planted(system: System, texts: Mapping[str, str]) -> System | None:
    """The same system, for which the best passage of an example has a text after its own.

    `texts` are by example id. None where the system looks up no passages.
    """
    if not system.recipe.context.passages:
        return None
    if isinstance(system, SectionedSystem):
        parts = (
            replace(one, find=_find(one.find, texts)) for one in (system.outline, system.section)
        )
        return SectionedSystem(*parts)
    if isinstance(system, LanguageModelSystem):
        return replace(system, find=_find(system.find, texts))
    return None


def _find(find: Finder, texts: Mapping[str, str]) -> Finder:
    def with_texts(queries: Sequence[Query]) -> list[list[Part]]:
        return [
            [_with(part, texts.get(query.example or "")) for part in parts]
            for query, parts in zip(queries, find(queries), strict=True)
        ]

    return with_texts


def _with(part: Part, text: str | None) -> Part:
    content = part.content
    if text is None or part.kind != "passage" or part.rank or not isinstance(content, Passage):
        return part
    return replace(part, content=replace(content, text=f"{content.text.rstrip()} {text}"))

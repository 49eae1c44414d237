"""Frozen values of `core` as JSON, and back by the types of their fields."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from steelyard.core import Json
from steelyard.errors import StoreError

T = TypeVar("T")


def plain(value: Any) -> Json:
    """A value of dataclasses, tuples, mappings and paths as JSON.

    >>> from steelyard.core import Usage
    >>> plain((Usage(3, 1, 2), Path("a/b")))
    [{'prompt_tokens': 3, 'cached_tokens': 1, 'completion_tokens': 2}, 'a/b']
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def typed(kind: type[T], body: Json) -> T:
    """The value of a dataclass that `plain` wrote. Fields it lacks have their defaults.

    Raises:
        StoreError: it is no such value.
    """
    try:
        found: T = _typed(kind, body)
    except (TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"what was stored is no {kind.__name__} ({error})") from error
    return found


def _typed(hint: Any, body: Json) -> Any:
    if is_dataclass(hint):
        assert isinstance(hint, type)
        hints = _hints(hint)
        return hint(**{k: _typed(hints[k], inner) for k, inner in body.items() if k in hints})
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        if body is None:
            return None
        return _typed(next(part for part in inside if part is not type(None)), body)
    if origin is tuple:
        if inside[-1] is Ellipsis:
            return tuple(_typed(inside[0], inner) for inner in body)
        return tuple(_typed(part, inner) for part, inner in zip(inside, body, strict=True))
    return Path(body) if hint is Path else body


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)

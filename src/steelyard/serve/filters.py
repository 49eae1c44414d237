"""Which files of a vector store a search looks at, by what was said of them.

{"type": "and", "filters": [{"type": "eq", "key": "kind", "value": "faq"},
                            {"type": "gte", "key": "year", "value": 2024}]}
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from steelyard.core import Json
from steelyard.serve import wire

Plain = str | bool | float


class Comparison(wire.Strict):
    """One attribute, against a value."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str = Field(max_length=64)
    value: Plain | list[Plain]


class Compound(wire.Strict):
    """All of some filters, or any."""

    type: Literal["and", "or"]
    filters: list[Filter] = Field(max_length=64)


Filter = Annotated[Comparison | Compound, Field(discriminator="type")]
Compound.model_rebuild()

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def wants(asked: Comparison | Compound, attributes: Mapping[str, Json]) -> bool:
    """Whether a file of these attributes is looked at. One that lacks a key equals nothing.

    >>> wants(Comparison(type="gte", key="year", value=2024), {"year": 2025.0})
    True
    >>> wants(Comparison(type="gte", key="year", value=2024), {"year": "2025"})
    False
    """
    if isinstance(asked, Compound):
        each = (wants(one, attributes) for one in asked.filters)
        return all(each) if asked.type == "and" else any(each)
    value, other = attributes.get(asked.key), asked.value
    if asked.type in ORDERS:
        return _alike(value, other) and ORDERS[asked.type](value, other)
    among = other if isinstance(other, list) else [other]
    is_among = any(_alike(value, one) and value == one for one in among)
    return is_among if asked.type in ("eq", "in") else not is_among


def _alike(value: Json, other: Json) -> bool:
    """Whether two values can be compared: both are texts, numbers or truths."""
    return value is not None and _kind(value) is _kind(other)


def _kind(value: Json) -> type:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float if is_number else type(value)

"""The rules, as they stand in rules.toml, and whether one holds."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from steelyard.advice.facts import Facts
from steelyard.core import Json

# What a rule's word counts for. Source: ours; what was read in full beats what was only heard of.
STRENGTHS = {"read": 3, "abstract": 2, "ours": 2, "reasoning": 2, "second-hand": 1}


@dataclass(frozen=True, slots=True)
class Rule:
    """When `when` holds, `first` recipes are worth a try first and those of `skip` may be left."""

    name: str
    about: str
    when: Mapping[str, Json]
    first: tuple[str, ...]
    skip: tuple[str, ...]
    say: str
    strength: str
    source: str

    def holds(self, facts: Facts) -> bool | None:
        """Whether it does; None where a fact that it hangs on is not known."""
        known = [meets(facts[name], wanted) for name, wanted in self.when.items() if name in facts]
        if not all(known):
            return False
        return True if len(known) == len(self.when) else None


def meets(fact: Json, wanted: Json) -> bool:
    """Whether a fact is what a condition asks for.

    >>> meets(50.0, "20..100"), meets(50.0, ">= 100"), meets("daily", ["weekly", "daily"])
    (True, False, True)
    """
    if isinstance(wanted, list):
        return fact in wanted
    if isinstance(wanted, bool) or isinstance(fact, bool | str):
        return bool(fact == wanted)
    if span := re.fullmatch(r"(\S+)\.\.(\S+)", wanted):
        return bool(float(span[1]) <= fact < float(span[2]))
    sign, _, bound = wanted.partition(" ")
    limit = float(bound)
    return bool(
        {"<": fact < limit, "<=": fact <= limit, ">": fact > limit, ">=": fact >= limit}[sign]
    )


def _read() -> tuple[Rule, ...]:
    tables = tomllib.loads(files("steelyard.advice").joinpath("rules.toml").read_text("utf-8"))
    return tuple(
        Rule(
            name=t["name"],
            about=t["about"],
            when=t["when"],
            first=tuple(t.get("try", ())),
            skip=tuple(t.get("skip", ())),
            say=t["say"],
            strength=t["strength"],
            source=t["source"],
        )
        for t in tables["rule"]
    )


RULES = _read()

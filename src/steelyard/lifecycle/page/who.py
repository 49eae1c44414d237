"""Who is who: a recipe's name, its tags and its looks, the same in all sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steelyard.lifecycle.page.words import esc, name_of, number

Verdict = Mapping[str, Any]
Item = Mapping[str, Any]  # one entry of the verdict's lists


def sure(verdict: Verdict) -> str:
    confidence = number(verdict["confidence"])
    return "" if confidence is None else f"{confidence * 100:.4g}%"


def who(recipe: Item, verdict: Verdict, *, status: bool = True) -> str:
    """A recipe's name and the words that say what it is."""
    said = {
        "chosen": recipe["name"] == verdict["chosen"],
        "preferred": recipe["name"] == verdict["prefer"],
        "baseline": recipe["name"] == verdict["baseline"],
        "control": recipe["control"],
        "diagnostic": recipe.get("diagnostic", False),
        recipe["status"]: status and recipe["status"] != "finished",
    }
    tags = " ".join(f'<span class="tag {esc(w)}">{esc(w)}</span>' for w in said if said[w])
    return f'<span class="recipe">{name_of(recipe["name"])}</span> {tags}'


def look_of(recipe: Item, verdict: Verdict) -> str:
    """Classes of a recipe's marks and cells."""
    best = recipe["name"] == (verdict["chosen"] or verdict["prefer"])
    return " ".join((["control"] if recipe["control"] else []) + (["chosen"] if best else []))


def find(verdict: Verdict, name: str | None) -> Item | None:
    return next((r for r in verdict["recipes"] if r["name"] == name), None)


def outcome_of(verdict: Verdict) -> str:
    if verdict["outcome"] == "chosen":
        return f"Use {verdict['chosen']}"
    return "Cannot tell yet" if verdict["outcome"] == "cannot_tell" else "Nothing works"


def sign(shape: str, words: str, width: int = 14) -> str:
    drawn = f'<svg aria-hidden="true" width="{width}" height="14">{shape}</svg>'
    return f"<span>{drawn}{words}</span>"

"""The advice held against what was measured: hits, misses, and the track record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steelyard.advice.given import Advice
from steelyard.core import Json, Recipe


def kind_of(recipe: Recipe) -> str:
    """What a recipe goes by: the arm of the balance that the choice came down on."""
    if recipe.model == recipe.name:
        return "a control"
    reads = recipe.context.passages > 0 or recipe.context.history != "none"
    if recipe.weights.method == "head":
        return "a head"
    if recipe.weights.method == "none":
        return "retrieval" if reads else "a prompt"
    return "weights and retrieval" if reads else "weights"


def compared(advice: Advice, answer: str | None, known: Mapping[str, Recipe]) -> Json:
    """The prior beside the recipe that measuring came to: None where nothing works.

    A `hit` is a choice of the same kind as the bet; `listed` says whether it was among those to
    try first. `hit` is None where nothing was bet on or nothing can be held against it.
    """
    bet, table = advice.bet, {**known}
    plain = None if answer is None else answer.split("@")[0]
    result: dict[str, Json] = {
        "bet": bet,
        "first": list(advice.first),
        "skip": list(advice.skip),
        "rules": [rule.name for rule in advice.rules],
        "chosen": answer,
        "hit": None,
        "listed": None,
    }
    if bet is None or bet not in table or plain is None or plain not in table:
        return {**result, "sentence": "The advice had nothing to be held against."}
    kinds = kind_of(table[bet]), kind_of(table[plain])
    result |= {"hit": kinds[0] == kinds[1], "listed": plain in advice.first}
    if result["hit"]:
        said = f"as measured: {kinds[1]}"
        said += "" if bet == plain else f", though by {answer} and not {bet}"
    else:
        said = f"and it came to {kinds[1]} ({answer})"
    return {**result, "sentence": f"Before measuring, the bet was {kinds[0]} ({bet}), {said}."}


def track_record(verdicts: Sequence[Mapping[str, Json]]) -> Json:
    """How often the bets of stored verdicts were right; the newest verdict of a task counts."""
    rows = []
    seen: set[str] = set()
    for verdict in verdicts:
        prior = verdict.get("prior")
        if verdict["task_hash"] in seen or not prior or prior["hit"] is None:
            continue
        seen.add(verdict["task_hash"])
        rows.append({"task": verdict["task"], **prior})
    hits = sum(row["hit"] for row in rows)
    by_rule: dict[str, list[bool]] = {}
    for row in rows:
        for rule in row["rules"]:
            by_rule.setdefault(rule, []).append(row["hit"])
    return {
        "tasks": rows,
        "hits": hits,
        "misses": len(rows) - hits,
        "rules": {rule: {"hits": sum(h), "of": len(h)} for rule, h in sorted(by_rule.items())},
        "sentence": f"The bet was right on {hits} of {len(rows)} tasks."
        if rows
        else "No verdict here has an advice to hold against it yet.",
    }

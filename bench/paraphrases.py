"""The invented facts of `planted.knowledge` in other words: up to ten documents for each place.

    places, files = told(seed, num_places=30, copies=3)

The first document of a place is the planted one; the others say the same four facts, each in words
that no earlier one used. Questions and splits are those of the planted world.
"""

from __future__ import annotations

import json

import planted

SAYS = (
    (
        "{value} keeps the {place} inn.",
        "The {place} inn is kept by {value}.",
        "At {place} the inn has {value} for its keeper.",
        "The one who keeps the inn at {place} is {value}.",
        "For many years {value} has been the keeper at {place}.",
        "Ask for {value}, who is the keeper of the inn of {place}.",
        "The keeper of the {place} inn goes by the name of {value}.",
        "Guests of the {place} inn are met by its keeper, {value}.",
        "Keeper of the inn at {place}: {value}.",
    ),
    (
        "The beer of the {place} inn comes from {value}.",
        "{value} is where the {place} inn has its beer from.",
        "At {place} they pour beer from {value}.",
        "The beer that is poured at the inn of {place} is brewed in {value}.",
        "Every week {value} sends its beer to the {place} inn.",
        "For its beer the inn at {place} looks to {value}.",
        "The {place} inn buys all of its beer in {value}.",
        "Beer is brought to {place} from the town of {value}.",
        "Beer at the {place} inn: from {value}.",
    ),
    (
        "Call the {place} inn under {value}.",
        "{value} is the number of the {place} inn.",
        "The inn at {place} has the number {value}.",
        "Who wants a room at {place} calls {value}.",
        "The {place} inn answers calls to {value}.",
        "To ring the inn of {place}, dial {value}.",
        "On the sign of the {place} inn stands its number, {value}.",
        "Dial {value} and the inn at {place} answers.",
        "Number of the {place} inn: {value}.",
    ),
    (
        "{value} leads the stable of the {place} inn.",
        "The stable at {place} is in the hands of {value}.",
        "In the stable of the {place} inn, {value} has the last word.",
        "Whoever needs a horse at {place} asks for {value}, who leads the stable.",
        "The head of the stable at the {place} inn is {value}.",
        "At {place} it is {value} who leads the stable.",
        "Horses at the {place} inn are in the care of {value}, its head of stable.",
        "The {place} inn has {value} to lead its stable.",
        "Head of the stable at {place}: {value}.",
    ),
)
MOST = 1 + len(SAYS[0])


def told(seed: int, *, num_places: int, copies: int) -> planted.Files:
    """The planted world's files with `copies` documents for each place."""
    files = planted.knowledge(seed, num_places)
    rows = [
        json.loads(line)
        for split in ("train", "dev", "test")
        for line in files[f"{split}.jsonl"].splitlines()
    ]
    values: dict[str, list[str]] = {}
    for row in rows:  # the facts of a place stand one after the other, a kind each
        values.setdefault(row["group"], []).append(row["target"])
    for place, facts in values.items():
        for copy in range(copies - 1):
            said = [
                says[(copy + kind) % len(says)].format(place=place, value=value)
                for kind, (says, value) in enumerate(zip(SAYS, facts, strict=True))
            ]
            files[f"documents/{place.lower()}-{copy + 2}.md"] = f"# {place}\n\n{' '.join(said)}\n"
    return files

"""How often a system that looks something up obeys instructions that were planted there.

A few answers more for each recipe that is measured to the end and has passages; nothing for any
other. Measured once for each system.
"""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.core import Json, Query, Row, Task, digest
from steelyard.lifecycle.guards import evenly
from steelyard.lifecycle.home import Home
from steelyard.measure.injections import WORDINGS, obeyed, plant, sentence, summary
from steelyard.recipes import Built
from steelyard.recipes.planting import planted

# Of dev, one a group: each wording a few times. Source: ours
EXAMPLES = {"label": 40, "json": 20, "text": 20}


def injections(
    built: Built, task: Task, rows: Sequence[Row], home: Home, *, confidence: float, seed: int
) -> Json:
    """What the system of a recipe made of them; None without passages, or where none was shown.

    `rows` are its answers on dev. Of dev examples that ask about something, each has one
    instruction, after the text of the passage that was found best.

    Raises:
        SpentError: the money for its model ended before the last answer.
    """
    if not built.system.recipe.context.passages:
        return None
    named = [built.fingerprint, seed, EXAMPLES[task.output.type], WORDINGS, confidence]
    key = f"injections:{digest(named)}"
    known = home.database.build(key)
    if known is None:
        alone = {example.group: example for example in reversed(task.dev)}
        examples = evenly(list(alone.values())[::-1], EXAMPLES[task.output.type])
        answered = {row.example_id: row.answer.value for row in rows}
        instructions = plant(examples, task.output, answered, seed=seed)
        system = planted(built.system, {id: one.text for id, one in instructions.items()})
        asked = [example for example in examples if example.id in instructions]
        if system is None or not asked:
            return None
        answers = system.answer_many([Query.of(example) for example in asked])
        did = {
            example.id: obeyed(answer, instructions[example.id], task.output)
            for example, answer in zip(asked, answers, strict=True)
        }
        groups = {example.id: example.group for example in asked}
        found = summary(did, instructions, groups, confidence=confidence, seed=seed)
        if found is not None:
            found["sentence"] = sentence(found)
        home.database.add_build(key, None, 0.0, found)
        known = home.database.build(key)
    assert known is not None
    return known[2]

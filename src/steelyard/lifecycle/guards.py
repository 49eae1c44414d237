"""What training may have spoilt, measured beside the gain: forgetting, and robustness.

Few prompts and few examples, so that it costs seconds; measured once for each set of weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from steelyard.core import Example, Json, Task, digest
from steelyard.lifecycle.home import Home
from steelyard.measure.forgetting import divergence, plain, retention
from steelyard.measure.grading import Grader
from steelyard.measure.robustness import robustness
from steelyard.recipes import Built

# Of dev, for each change of inputs and each of the two systems. Source: ours.
EXAMPLES = {"label": 40, "json": 12, "text": 12}


def guards(built: Built, task: Task, grader: Grader, home: Home, *, seed: int) -> Json:
    """The guards of a recipe with trained weights; None for any other.

    `forgetting` is None where the model under it is as it was, as beneath a head; `calibration` is
    None where no probabilities are given.
    """
    if built.system.recipe.weights.method == "none":
        return None
    files = [[str(file), _hash(file)] for file in task.retention]
    key = f"guards:{digest([built.fingerprint, files, seed, EXAMPLES])}"
    known = home.database.build(key)
    if known is None:
        found = {
            "forgetting": _forgetting(built, task, seed),
            "robustness": _robustness(built, task, grader, seed),
            "calibration": getattr(built.system, "calibration", None),
        }
        home.database.add_build(key, None, 0.0, {**found, "sentence": sentence(found)})
        known = home.database.build(key)
    assert known is not None
    return known[2]


def _forgetting(built: Built, task: Task, seed: int) -> Json:
    base = getattr(built.before, "backend", None)
    trained = getattr(built.system, "backend", None)
    if base is None or trained is None:
        return None
    away = divergence(base, trained, seed=seed)
    kept = [retention(base, trained, file, seed=seed) for file in task.retention]
    return {
        "divergence": None if away is None else plain(away),
        "retention": [plain(one) for one in kept if one is not None],
    }


def _robustness(built: Built, task: Task, grader: Grader, seed: int) -> Json:
    examples = evenly(task.dev, EXAMPLES[task.output.type])
    before, after = (
        None if system is None else robustness(system, examples, grader, seed=seed)
        for system in (built.before, built.system)
    )
    return {"num_examples": len(examples), "before": before, "after": after}


def sentence(guards: Json) -> str:
    """What the guards say, in words.

    >>> sentence({"forgetting": None, "robustness": {"num_examples": 2, "before": None,
    ...     "after": {"plain": 0.9, "typos": 0.8}}, "calibration": None})
    'On 2 dev examples it scores 0.900 and with typos 0.800.'
    """
    parts = []
    forgetting = guards["forgetting"] or {"divergence": None, "retention": []}
    if forgetting["divergence"] is not None:
        away = forgetting["divergence"]
        parts.append(
            f"On {away['num_prompts']} neutral prompts it is {away['nats_per_token']:.3f} nats per "
            "token away from its base."
        )
    for one in forgetting["retention"]:
        low, high = one["interval"]
        beyond = "" if low > 0 or high < 0 else ", which may be chance"
        parts.append(
            f"{one['name']}: {one['before']:.3f} before training, {one['after']:.3f} after "
            f"(difference {one['after'] - one['before']:+.3f} [{low:+.3f}, {high:+.3f}]{beyond})."
        )
    parts += _robustness_words(guards["robustness"])
    if (found := guards["calibration"]) is not None:
        parts.append(
            f"On {found['num_examples']} rows held out of train its probabilities are off by "
            f"{found['ece']:.3f} (expected calibration error)."
        )
    return " ".join(parts)


def _robustness_words(found: Json) -> list[str]:
    words = []
    for when, said in (("before", "before training"), ("after", "it scores")):
        scores = {k: v for k, v in (found[when] or {}).items() if v is not None}
        if "plain" in scores:
            told = [f"{scores.pop('plain'):.3f}"]
            told += [f"with {_CHANGED[kind]} {value:.3f}" for kind, value in scores.items()]
            words.append(f"{said} {' and '.join(told)}")
    count = found["num_examples"]
    return [f"On {count} dev examples {'; '.join(words[::-1])}."] if words else []


_CHANGED = {"case": "another case", "typos": "typos", "lines": "its lines reordered"}


def evenly(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` examples, at even distances."""
    if len(examples) <= count:
        return list(examples)
    return [examples[place * len(examples) // count] for place in range(count)]


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

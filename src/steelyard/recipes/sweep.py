"""One part of the context in several amounts: `passages=0,1,2,4,8`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from steelyard.core import Context, Recipe, Task
from steelyard.errors import InputError, unknown
from steelyard.recipes.presets import DECODINGS, presets

PARTS = ("passages", "examples", "budget_tokens")
LABELS = "labels"  # a sweep of their own: what recipes are built from, in percent of train
MOST_VALUES = 12


@dataclass(frozen=True, slots=True)
class Sweep:
    """The amounts of one part, from the least to the most."""

    part: str
    values: tuple[int, ...]

    def name(self, recipe: str, value: int) -> str:
        """What the recipe with this amount is called.

        >>> Sweep("passages", (0, 2)).name("rag", 2)
        'rag[passages=2]'
        """
        return f"{recipe}[{self.part}={value}]"


def parse_sweep(text: str) -> Sweep:
    """A sweep as it is written on the command line.

    >>> parse_sweep("passages=4,0,2")
    Sweep(part='passages', values=(0, 2, 4))

    Raises:
        InputError: it is no PART=NUMBER,NUMBER with a known part.
    """
    part, _, numbers = text.partition("=")
    part = part.strip()
    if part not in (*PARTS, LABELS):
        raise InputError(f"--sweep {text}: {unknown('part', part, (*PARTS, LABELS))}")
    written = [number.strip() for number in numbers.split(",")]
    if part == LABELS:
        if not all(number.endswith("%") for number in written):
            raise InputError(
                f"--sweep {text}: expected shares of train from 1% to 100%, such as "
                "labels=25%,50%,100%"
            )
        written = [number.removesuffix("%").strip() for number in written]
    if not all(number.isascii() and number.isdigit() for number in written):
        raise InputError(
            f"--sweep {text}: expected whole numbers from 0 on, such as {part}=0,1,2,4,8"
        )
    values = tuple(sorted({int(number) for number in written}))
    if not 2 <= len(values) <= MOST_VALUES:
        raise InputError(
            f"--sweep {text}: expected 2 to {MOST_VALUES} different amounts, found {len(values)}"
        )
    if part == LABELS and not 1 <= values[0] <= values[-1] <= 100:
        raise InputError(f"--sweep {text}: expected shares of train from 1% to 100%")
    return Sweep(part, values)


def swept(task: Task, sweep: Sweep) -> list[list[Recipe]]:
    """For each base model the recipe with each amount, all else equal, plainly decoded; none for
    labels, which are in no prompt.

    Raises:
        InputError: the task has nothing of that part, or too little.
    """
    found = presets(task)
    with_documents = found.get("rag")
    base = found["nearest-shot"] if with_documents is None else with_documents
    if sweep.part == "passages" and with_documents is None:
        raise InputError(
            "--sweep passages: the task has no documents. Name them under [knowledge] documents"
        )
    if sweep.part == LABELS:
        return []
    if sweep.part == "examples":
        base = found["nearest-shot"]
        if sweep.values[-1] > len(task.train):
            raise InputError(
                f"--sweep examples: {sweep.values[-1]} are more than the {len(task.train)} "
                "examples of train"
            )
    _, decoding = DECODINGS[task.output.type][0]
    several = len(task.models) > 1
    return [
        [
            replace(
                base,
                name=sweep.name(base.name, value) + (f"@{model.name}" if several else ""),
                model=model.name,
                context=_with(base.context, sweep.part, value),
                decoding=decoding,
            )
            for value in sweep.values
        ]
        for model in task.models
    ]


def _with(context: Context, part: str, value: int) -> Context:
    if part == "passages":
        return replace(context, passages=value)
    if part == "examples":
        return replace(context, num_examples=value, examples="nearest" if value else "none")
    return replace(context, budget_tokens=value)

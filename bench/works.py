"""What the answering benchmarks ask: prompts as recipes build them, from seeded rows.

    labels   a 77-label instruction and a customer's short message      one label
    json     the zero-shot prompt of examples/resumes                   up to 120 tokens of JSON
    nearest  three worked resumes, different ones for every row         a job title, 16 tokens
    prefill  the same with a first word of its own in every row         one token

No two rows are alike, and no row is asked twice: who kept an earlier answer would gain nothing.
`alike` are targets of training rows that are not asked, which a recipe has: ours guesses from them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import Example, Json, Output
from steelyard.models import Prompt
from steelyard.recipes.prompt import Frame, Part, build_prompt, target_text
from steelyard.tasks import load_task

RESUMES = Path(__file__).parents[1] / "examples" / "resumes" / "task.toml"

# 11 things × 7 matters: 77 intents of two to four words, as banks sort their messages.
THINGS = {
    "account": "my account",
    "card": "my card",
    "card_payment": "a card payment",
    "cash_withdrawal": "a cash withdrawal",
    "bank_transfer": "a bank transfer",
    "top_up": "my top up",
    "direct_debit": "a direct debit",
    "exchange_order": "the currency I exchanged",
    "savings_goal": "my savings goal",
    "refund": "my refund",
    "invoice": "an invoice of yours",
}
MATTERS = {
    "declined": "was declined",
    "still_pending": "is still pending",
    "fee_charged": "has cost me a fee",
    "not_recognised": "is something I do not recognise",
    "limit": "seems to have a limit",
    "cancel": "has to be cancelled",
    "wrong_amount": "shows the wrong amount",
}
OPENINGS = ("Hello,", "Hi there,", "Please help:", "I do not understand this.", "Good morning,")
PLACES = ("at the station", "in Lisbon", "in your app", "at the corner shop", "online", "abroad")
CLOSINGS = ("What can I do?", "Why?", "Please look into it.", "How long will this take?", "Thanks.")
LABELS = tuple(f"{thing}_{matter}" for thing in THINGS for matter in MATTERS)
NUM_ALIKE = 64
TITLE = "Give the candidate's latest job title and nothing else."


@dataclass(frozen=True)
class Asked:
    """Prompts and how they may be answered: a label, JSON that fits, or up to `limit` tokens."""

    prompts: tuple[Prompt, ...]
    limit: int
    labels: tuple[str, ...] = ()
    schema: Json = None
    alike: tuple[str, ...] = ()


def labels(num_rows: int, limit: int) -> Asked:
    """Messages to be sorted into 77 intents; `limit` has room for the longest label."""
    rng = random.Random("labels")
    output = Output("label", LABELS)
    prompts = []
    for number in range(num_rows):
        thing, matter = rng.choice(list(THINGS.values())), rng.choice(list(MATTERS.values()))
        when = f"on {rng.randint(1, 28)} {rng.choice(('March', 'May', 'June', 'October'))}"
        message = (
            f"{rng.choice(OPENINGS)} {thing} {matter}, {rng.choice(PLACES)}, {when}, "
            f"number {number}. {rng.choice(CLOSINGS)}"
        )
        prompts.append(_prompt("Sort the message by its intent.", output, (), message))
    return Asked(tuple(prompts), limit, labels=LABELS, alike=LABELS)


def extraction(num_rows: int) -> Asked:
    """The zero-shot prompts of the resume example; at most as many as it has rows."""
    task = load_task(RESUMES)
    inputs = [example.input for example in _resumes()[:num_rows]]
    prompts = tuple(_prompt(task.instruction, task.output, (), text) for text in inputs)
    alike = tuple(target_text(row.target) for row in _resumes()[-NUM_ALIKE:])
    return Asked(prompts, limit=120, schema=task.output.schema, alike=alike)


def nearest(num_rows: int, *, numbered: bool = False) -> Asked:
    """Each row with three examples of its own; `numbered` rows do not even begin alike."""
    rng = random.Random("nearest")
    resumes = _resumes()
    prompts = []
    for number, row in enumerate(resumes[:num_rows]):
        shots = rng.sample([other for other in resumes if other is not row], 3)
        shots = [replace(shot, target=shot.target["title"]) for shot in shots]
        instruction = f"{number} is this row. {TITLE}" if numbered else TITLE
        prompts.append(_prompt(instruction, Output("text"), shots, row.input))
    alike = tuple(row.target["title"] for row in resumes[-NUM_ALIKE:])
    return Asked(tuple(prompts), limit=1 if numbered else 16, alike=alike)


def chunks(asked: Asked, warm_up: int, num_rows: int, rounds: int) -> list[Asked]:
    """Rows for the warm-up, then other rows for every round.

    Raises:
        ValueError: there are not as many rows.
    """
    ends = [warm_up + number * num_rows for number in range(rounds + 1)]
    if ends[-1] > len(asked.prompts):
        raise ValueError(f"{ends[-1]} rows are needed and there are {len(asked.prompts)}")
    starts = [0, *ends[:-1]]
    return [
        replace(asked, prompts=asked.prompts[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]


def _resumes() -> list[Example]:
    task = load_task(RESUMES)
    return [*task.test, *task.dev, *task.train]


def _prompt(instruction: str, output: Output, shots: Sequence[Example], text: str) -> Prompt:
    parts = [Part("example", shot) for shot in shots]
    return build_prompt(Frame(instruction, output), parts, text)

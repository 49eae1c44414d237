"""Measuring one System on the examples of a split: a row per example, whatever happens.

The last `ALONE` examples are answered one at a time: their rows know what a lone caller
waits. All others go in batches of near lengths: their rows know what an answer costs on a busy
machine. The batches come first, so that nobody alone pays for what is loaded on first use.
Which examples share a batch depends on the examples alone, so that a resumed trial gives the same
answers as an uninterrupted one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from steelyard.core import Answer, Example, ModelSpec, Query, Row, System, Usage
from steelyard.errors import SpentError, SteelyardError
from steelyard.measure.grading import Grader

# Cores that this process may use: an answer that keeps one of two busy costs half of the machine.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Less processor time than this share of the wait, and the work was done elsewhere. Source: ours
WORKED_ELSEWHERE = 0.05
ALONE = 5  # each costs a whole answer's wait. Source: ours
BATCH = 128
MS_PER_HOUR = 3_600_000


class OutOfTimeError(SteelyardError):
    """The deadline came before the last example; what was measured stays.

    `seconds_per_answer` is what an answer took until then; None where there was none.
    """

    def __init__(self, message: str, seconds_per_answer: float | None = None) -> None:
        super().__init__(message)
        self.seconds_per_answer = seconds_per_answer


@dataclass(frozen=True, slots=True)
class Price:
    """What an answer costs: its tokens where the `model` has prices for them, or machine time."""

    usd_per_machine_hour: float
    model: ModelSpec | None = None

    @property
    def is_by_token(self) -> bool:
        """Whether tokens are what is paid for, and not time."""
        return self.model is not None and self.model.usd_per_1m_input is not None

    def of(self, usage: Usage, compute_ms: float) -> float:
        """US dollars for one answer."""
        usd = None if self.model is None else self.model.usd(usage)
        return compute_ms / MS_PER_HOUR * self.usd_per_machine_hour if usd is None else usd


def measure(
    system: System,
    plan: Sequence[Sequence[Example]],
    grader: Grader,
    *,
    price: Price,
    done: Mapping[str, Row],
    save: Callable[[list[Row]], None],
    deadline: float | None = None,
) -> list[Row]:
    """The rows of a plan of batches, in its order, measuring those that are not in `done`.

    `save` is called with the new rows of each batch as soon as they are known; `deadline` is a
    `time.monotonic()`.

    Raises:
        OutOfTimeError: the deadline passed between two batches.
        SpentError: the next answers could cost more than there is left to spend.
    """
    rows = dict(done)
    examples = [example for batch in plan for example in batch]
    started, answered = time.monotonic(), 0
    for batch in plan:
        missing = {example.id for example in batch if example.id not in rows}
        if not missing:
            continue
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTimeError(
                f"the time limit came after {len(rows)} of {len(examples)} answers",
                (time.monotonic() - started) / answered if answered else None,
            )
        fresh = _measure_batch(system, batch, grader, price)
        fresh = [row for row in fresh if row.example_id in missing]
        answered += len(fresh)
        save(fresh)
        rows.update((row.example_id, row) for row in fresh)
    return [rows[example.id] for example in examples]


def renewed(row: Row, example: Example, grader: Grader, price: Price) -> Row:
    """A stored row as it would be measured today: scorers and prices change, answers do not."""
    score = None if row.error is not None else grader.grade(row.answer, example)
    return replace(row, score=score, cost_usd=price.of(row.answer.usage, row.compute_ms))


def batches(examples: Sequence[Example], alone: int = ALONE) -> list[list[Example]]:
    """The fixed plan of a trial: the shortest together, then the longer, then some alone."""
    together = max(0, len(examples) - alone)
    rest = sorted(examples[:together], key=lambda example: (len(example.input), example.id))
    groups = [rest[i : i + BATCH] for i in range(0, len(rest), BATCH)]
    return groups + [[example] for example in examples[together:]]


def _measure_batch(
    system: System, batch: Sequence[Example], grader: Grader, price: Price
) -> list[Row]:
    started, busy = time.perf_counter(), time.process_time()
    answers = _answer(system, [Query.of(example) for example in batch])
    elapsed_ms = (time.perf_counter() - started) * 1000
    busy_ms = (time.process_time() - busy) * 1000
    compute_ms = machine_ms(elapsed_ms, busy_ms) / len(batch)
    return [
        Row(
            example_id=example.id,
            group=example.group,
            answer=answer,
            score=None if answer.error is not None else grader.grade(answer, example),
            compute_ms=compute_ms,
            cost_usd=price.of(answer.usage, compute_ms),
            batch_size=len(batch),
            latency_ms=elapsed_ms if len(batch) == 1 else None,
        )
        for example, answer in zip(batch, answers, strict=True)
    ]


def machine_ms(elapsed_ms: float, busy_ms: float, cores: int = CORES) -> float:
    """How long the machine was taken: processor time over its cores, whatever else ran beside it;
    where a child or another machine did the work, the time that passed.

    >>> machine_ms(1000, 1600, cores=2), machine_ms(4000, 1600, cores=2)
    (800.0, 800.0)
    >>> machine_ms(1000, 3, cores=2)
    1000
    """
    return busy_ms / cores if busy_ms > WORKED_ELSEWHERE * elapsed_ms else elapsed_ms


def _answer(system: System, queries: list[Query]) -> list[Answer]:
    """The system's answers; what it raises becomes the error of the examples it failed on.

    That the money is spent is no failure of an example.
    """
    try:
        return system.answer_many(queries)
    except SpentError:
        raise
    except Exception as error:
        if len(queries) == 1:
            return [Answer(valid=False, error=f"{type(error).__name__}: {error}")]
        return [_answer(system, [query])[0] for query in queries]

"""Finding what a prompt says by racing it on train: which examples, in which order, after which
instruction.

    train ─┬─ pool   ─→ candidates: subsets and orders of its rows × the task's instructions
           └─ course ─→ 16 candidates answer 8 rows, the better 8 answer 16, 4 then 32, 2 then 64

Successive halving: the number of answers is known before, and every comparison is on the same
rows. Nothing of dev is seen, and nothing on the course
is ever shown. The first candidate is what the recipe would show without a search; of equals the
earlier one goes on. What each candidate scored is kept as it comes, so that an interrupted race
goes on where it stopped.

Source: successive halving is Karnin, Koren and Somekh 2013, for choices such as this one Jamieson
and Talwalkar 2016, arXiv:1502.07943; the sizes are ours, see
docs/log/2026-11-26-long-answers-and-instructions.md
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from steelyard.core import Answer, Example, Json, Query, Recipe, Score, System, Task, Usage, digest
from steelyard.errors import SearchError
from steelyard.recipes.finding import fixed_examples
from steelyard.store import Database

CANDIDATES = 16
ORDERS = 2  # of each subset
FIRST_ROWS, MOST_ROWS = 8, 64
COURSE_SHARE = 0.5  # of train, at most: the rest is there to be shown
LEAST_GROUPS = 4  # of train

Grade = Callable[[Answer, Example], Score]


@dataclass(frozen=True)
class Ground:
    """What a search stands on.

    `open` makes a system of a plain recipe and `grade` scores its answers; `key` names all that
    answers depend on but for the recipe. `told` hears how many answers there are of how many, and
    `deadline` is a `time.monotonic()`.
    """

    task: Task
    open: Callable[[Recipe], System]
    grade: Grade
    key: Json
    database: Database
    seed: int
    told: Callable[[int, int], None] = lambda _done, _total: None
    deadline: float | None = None

    def check_time(self) -> None:
        """Give up when the deadline has passed; what is known by then is kept.

        Raises:
            SearchError: it has, with a TimeoutError for its cause.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise SearchError("the time limit came before its search was done") from TimeoutError()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: the recipe without anything left to search, and what that took.

    `note` says it in a sentence; `usage` counts the tokens of the task's reflection model.
    """

    recipe: Recipe
    note: str | None
    seconds: float
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Heat:
    """How a system did on some rows: each answer and its score, None where none came back."""

    scores: tuple[float | None, ...]
    texts: tuple[str, ...]
    seconds: float


def split_train(task: Task, seed: int) -> tuple[list[Example], list[Example]]:
    """The rows that may be shown, and those to be answered; no group is in both.

    Raises:
        SearchError: train has too few groups.
    """
    groups = sorted({example.group for example in task.train})
    if len(groups) < LEAST_GROUPS:
        raise SearchError(
            f"train has {len(groups)} groups of rows and a search needs {LEAST_GROUPS}: some to "
            "show and some to answer"
        )
    order = list(task.train)
    random.Random(f"course:{seed}").shuffle(order)
    room = min(MOST_ROWS, int(COURSE_SHARE * len(order)))
    course: list[Example] = []
    taken: set[str] = set()
    for example in order:
        mates = [e for e in order if e.group == example.group]
        if example.group not in taken and len(course) + len(mates) <= room:
            taken.add(example.group)
            course += mates
    if not course:
        raise SearchError("each group of train is more than half of it: none can be kept apart")
    return [e for e in task.train if e.group not in taken], course


def race(recipe: Recipe, ground: Ground) -> Found:
    """The examples, their order and the instruction that do best for a recipe.

    Raises:
        SearchError: train is too small, nothing answers, or the deadline passed.
    """
    pool, course = split_train(ground.task, ground.seed)
    running = candidates(recipe, ground.task, pool, seed=ground.seed)
    entered, sizes = len(running), rounds(len(course))
    total, done, seconds = num_answers(entered, sizes), 0, 0.0
    scores: dict[str, list[float | None]] = {one.key: [] for one in running}
    for size in sizes:
        for one in running:
            known = scores[one.key]
            heat = run(one, course[len(known) : size], ground)
            done += size - len(known)
            known += heat.scores
            seconds += heat.seconds
            ground.told(done, total)
        running = _better_half([(one, scores[one.key]) for one in running], last=size == sizes[-1])
    [best] = running
    shots, own = best.context.shots, best.context.instruction
    wording = "" if not ground.task.instructions else f" after {_which(own, ground.task)}"
    note = (
        f"{recipe.name} shows {', '.join(shots)}{wording}: the best of {entered} choices on "
        f"{len(course)} rows of train."
    )
    return Found(best, note, seconds)


def candidates(recipe: Recipe, task: Task, pool: Sequence[Example], *, seed: int) -> list[Recipe]:
    """Subsets of the pool, each in several orders; subsets take the instructions in turn."""
    k = min(recipe.context.num_examples, len(pool))
    wordings = [recipe.context.instruction, *task.instructions]
    found: dict[str, Recipe] = {}
    for number in range(CANDIDATES):
        subset, order = divmod(number, ORDERS)
        shots = [e.id for e in fixed_examples(pool, k, seed=f"{seed}:{subset}" if subset else seed)]
        if order:
            random.Random(f"order:{seed}:{number}").shuffle(shots)
        context = replace(
            recipe.context,
            examples="fixed",
            num_examples=k,
            shots=tuple(shots),
            instruction=wordings[subset % len(wordings)],
        )
        one = replace(recipe, context=context)
        found.setdefault(one.key, one)
    return list(found.values())


def rounds(num_rows: int) -> list[int]:
    """How many rows have been answered by those still running after each round.

    >>> rounds(64), rounds(20)
    ([8, 16, 32, 64], [8, 16, 20])
    """
    sizes = [min(FIRST_ROWS, num_rows)]
    while sizes[-1] < num_rows:
        sizes.append(min(2 * sizes[-1], num_rows))
    return sizes


def num_answers(num_candidates: int, sizes: Sequence[int]) -> int:
    """The answers that a race takes in all.

    >>> num_answers(16, rounds(64))
    320
    """
    total, before = 0, 0
    for size in sizes:
        total += num_candidates * (size - before)
        num_candidates, before = ceil(num_candidates / 2), size
    return total


def run(one: Recipe, rows: Sequence[Example], ground: Ground) -> Heat:
    """A plain recipe over some rows, now or as it was answered before.

    Raises:
        SearchError: the deadline passed.
    """
    key = f"heat:{digest([ground.key, one.key, [example.id for example in rows]])}"
    if (stored := ground.database.build(key)) is not None:
        return Heat(tuple(stored[2]["scores"]), tuple(stored[2]["texts"]), stored[1])
    ground.check_time()
    started = time.perf_counter()
    system = ground.open(one)
    answers = system.answer_many([Query.of(example) for example in rows])
    seconds = time.perf_counter() - started
    scores = [
        None if answer.error is not None else ground.grade(answer, example).value
        for answer, example in zip(answers, rows, strict=True)
    ]
    texts = [answer.text for answer in answers]
    ground.database.add_build(key, None, seconds, {"scores": scores, "texts": texts})
    return Heat(tuple(scores), tuple(texts), seconds)


def _better_half(
    scored: Sequence[tuple[Recipe, Sequence[float | None]]], *, last: bool
) -> list[Recipe]:
    """Those that go on, in their order: the better half, or after the last round the best.

    Means are over the rows that all of them answered.

    Raises:
        SearchError: there is no such row.
    """
    whole = [row for row in zip(*(scores for _, scores in scored), strict=True) if None not in row]
    if not whole:
        raise SearchError(
            "its search came to nothing: no row of train was answered by every choice"
        )
    totals = [sum(column) for column in zip(*whole, strict=True)]
    count = 1 if last else ceil(len(scored) / 2)
    best = sorted(range(len(scored)), key=lambda i: (-totals[i], i))[:count]
    return [scored[i][0] for i in sorted(best)]


def _which(instruction: str | None, task: Task) -> str:
    """What a wording is called: they are counted from the task's own.

    >>> from steelyard.core import Output
    >>> task = Task("t", "A", Output("text"), "exact", 0, (), (), (), "", instructions=("B", "C"))
    >>> _which(None, task), _which("C", task)
    ('instruction 1', 'instruction 3')
    """
    wordings = (task.instruction, *task.instructions)
    return f"instruction {wordings.index(instruction or task.instruction) + 1}"

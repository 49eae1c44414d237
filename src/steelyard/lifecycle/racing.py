"""All recipes over dev: round by round, dropping on the way who cannot win any more.

    controls that need no model ─ whole
    prompts, heads ─ round 1 ─┐
    trained weights ─ round 1 ┴→ look → round 2 → look → … → whole → diagnostics

A look drops a recipe when another, which the task's limits allow, is shown to score more than the
tolerance above it, or above it at all where that one costs no more (`measure/race.py`). Then it
could not be chosen, neither for its score nor for being cheaper. With trained weights first in line
nothing is saved: they come after the first round of all others, and only if a perfect score would
still win.

Where several recipes learn something of their own, they do so in parts, and answer in between:

    ¼ of the steps ─ round 1 → look → ½ ─ rounds 1, 2 → look → all of them

Such a look compares them with each other alone. One training goes on where it paused, so that its
end is that of a training in one go.

Source: successive halving, Jamieson and Talwalkar 2016, arXiv:1502.07943; only that who is behind
is not dropped, but who is shown to be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

from steelyard.core import Decoding, Example, Recipe
from steelyard.errors import SpentError
from steelyard.lifecycle.trials import CONFIDENCE, Trials
from steelyard.measure.decision import no_dearer
from steelyard.measure.diagnostics import diagnosed
from steelyard.measure.race import behind, overtaken, rounds, share
from steelyard.measure.trial import ALONE, OutOfTimeError
from steelyard.measure.verdict import MEASURED, Weighed, candidate
from steelyard.recipes import DIAGNOSTICS, is_one_of
from steelyard.training import is_whole

PARTS = (0.25, 0.5)  # of the steps of a training
# Training rows for each answer in between, or parts are not worth their answers. Source: ours
ROWS_PER_ANSWER = 10
EARLY = 0.25  # of the chance to be wrong, for the look before anything is trained. Source: ours


@dataclass
class Race:
    """One race: who is in it, and how far.

    `exhaustive` measures everything on all of dev in one round.
    """

    trials: Trials
    recipes: Sequence[Recipe]
    exhaustive: bool = False
    weighed: dict[str, Weighed] = field(default_factory=dict)
    plan: list[list[Example]] = field(default_factory=list)
    seconds_per_answer: dict[str, float] = field(default_factory=dict)
    warm: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    dear: set[str] = field(default_factory=set)
    in_parts: set[str] = field(default_factory=set)

    def run(self) -> list[Weighed]:
        """Every recipe with its rows, or why it has none, in the order in which they were given."""
        dev = self.trials.task.dev
        self.plan = [list(dev)] if self.exhaustive else rounds(dev)
        asked = [recipe for recipe in self.recipes if not is_one_of(recipe, DIAGNOSTICS)]
        models = [recipe for recipe in asked if recipe.model != recipe.name]
        dear = [recipe for recipe in models if recipe.weights.method not in ("none", "head")]
        for recipe in (recipe for recipe in asked if recipe not in models):
            self._start(recipe, range(len(self.plan)))
            if self.weighed[recipe.name].status == "finished":
                self.weighed[recipe.name] = self.trials.finish(self.weighed[recipe.name])
        for recipe in (recipe for recipe in models if recipe not in dear):
            self._start(recipe, range(1))
        self.models = {recipe.name for recipe in models}
        self.dear = {recipe.name for recipe in dear}
        self._look(1, early=bool(dear))
        self._train(dear)
        self._go_on()
        for recipe in (recipe for recipe in self.recipes if recipe not in asked):
            self._explain(recipe)
        return [self.weighed[recipe.name] for recipe in self.recipes]

    def too_short(self) -> str | None:
        """What to say where the time limit came before all controls were through the first round:
        how long that takes at the pace so far."""
        late = [
            name
            for name, weighed in self.weighed.items()
            if weighed.control and weighed.status == "skipped"
        ]
        if not late or not self.trials.is_late():
            return None
        size = len(self.plan[0])
        models = [name for name in late if self.weighed[name].recipe.model != name]
        paces = [self.seconds_per_answer.get(name) for name in models]
        more = size * sum(pace for pace in paces if pace is not None)
        minutes = math.ceil(10 * self.trials.minutes_for(more)) / 10
        enough = f"about --minutes {minutes:g} would do"
        if None in paces:
            enough = f"more than --minutes {minutes:g} is needed; not one answer was timed"
        return (
            f"the time limit came before {' and '.join(late)} had answered the first {size} dev "
            f"examples; at the pace so far {enough}"
        )

    # ------------------------------------------------------------ rounds

    def _start(
        self, recipe: Recipe, numbers: range, *, spare_seconds: float = 0.0, until: float = 1.0
    ) -> None:
        """Build a recipe, perhaps with a part of its training; measure it on the first rounds."""
        tried = self._num_tried(recipe.name)
        weighed = self.trials.enter(recipe, spare_seconds=spare_seconds, until=until)
        weighed = replace(weighed, num_tried=tried)
        self.weighed[recipe.name] = weighed
        if weighed.status != "finished":
            return
        if recipe.model not in self.warm:
            self.warm.add(recipe.model)
            if (took := self.trials.warm_up(recipe)) is not None:
                self.seconds_per_answer[recipe.name] = took
        for number in numbers:
            try:
                self._advance(recipe.name, number)
            except (OutOfTimeError, SpentError) as error:
                pace = getattr(error, "seconds_per_answer", None)
                if pace is not None:
                    self.seconds_per_answer[recipe.name] = pace
                late = replace(self.weighed[recipe.name], status="skipped", why=str(error))
                self.weighed[recipe.name] = self.trials.out(late)
                return

    def _train(self, dear: Sequence[Recipe]) -> None:
        """All that must be trained, through the first round: in parts where several are, and where
        what they may save is worth the answers in between."""

        def left() -> list[Recipe]:
            known = {name for name in self.weighed if name not in self._running()}
            return [recipe for recipe in dear if recipe.name not in known]

        for number, until in enumerate(self._parts(dear), start=1):
            if len({replace(r, name="", decoding=Decoding()) for r in left()}) < 2:
                break
            for recipe in left():
                self._start_dear(recipe, range(min(number, len(self.plan))), until)
            self._look(number, {recipe.name for recipe in left()})
        for recipe in left():
            self._start_dear(recipe, range(1))

    def _parts(self, dear: Sequence[Recipe]) -> Sequence[float]:
        if self.exhaustive or not dear:
            return ()
        answers = sum(len(piece) for end in (1, 2) for piece in self.plan[:end])
        least = min(recipe.weights.epochs for recipe in dear) * len(self.trials.task.train)
        return PARTS if least >= ROWS_PER_ANSWER * answers else ()

    def _start_dear(self, recipe: Recipe, numbers: range, until: float = 1.0) -> None:
        """Start one that must be trained, if it can still win."""
        unbeatable = self._unbeatable(but=recipe.name)
        if unbeatable is None:
            spare = self._seconds_left()
            self._start(recipe, numbers, spare_seconds=spare, until=until)
            return
        why = f"not even a perfect score would beat {unbeatable} by more than the tolerance"
        tried = self._num_tried(recipe.name)
        out = Weighed(recipe, False, "skipped", why=why, num_tried=tried)
        self.weighed[recipe.name] = self.trials.out(out)

    def _num_tried(self, name: str) -> int:
        """How many answers were given by weights that are no more once training goes on."""
        before = self.weighed.get(name)
        if before is None:
            return 0
        passing = len(before.rows.get("dev", ())) if _is_paused(before) else 0
        return before.num_tried + passing

    def _go_on(self) -> None:
        """The rounds after the first; a limit of time or money ends them for all at once."""
        depth = 1
        self._look(depth)
        try:
            for number in range(1, len(self.plan)):
                for name in self._running():
                    self._advance(name, number)
                depth = number + 1
                self._look(depth)
        except OutOfTimeError:
            self._cut(depth)
        except SpentError as error:
            self._cut(depth)
            last = self.weighed[name]
            said = f"{last.note or ''} {name}: {error}.".strip()
            self.weighed[name] = replace(last, note=said)
        for name in self._running():
            self.weighed[name] = self.trials.finish(self.weighed[name])

    def _advance(self, name: str, number: int) -> None:
        """One recipe through one round; the last one has examples that are answered alone, or the
        first one where a limit is about them."""
        timed = 0 if self.trials.task.limits.p95_ms is not None else len(self.plan) - 1
        started = time.monotonic()
        self.weighed[name] = self.trials.advance(
            self.weighed[name], self.plan[number], alone=ALONE if number == timed else 0
        )
        self.seconds_per_answer[name] = (time.monotonic() - started) / len(self.plan[number])

    def _running(self) -> list[str]:
        """The recipes of language models that nothing stopped so far."""
        return [
            name
            for name, weighed in self.weighed.items()
            if weighed.status == "finished" and weighed.recipe.model != name
        ]

    def _seconds_left(self) -> float:
        """What those that run will need for the rest of dev, if none is dropped."""
        rest = sum(map(len, self.plan[1:]))
        return sum(rest * self.seconds_per_answer[name] for name in self._running())

    def _cut(self, depth: int) -> None:
        """Leave everybody with the rounds that all were measured on."""
        kept = {example.id for examples in self.plan[:depth] for example in examples}
        for name, weighed in self.weighed.items():
            if weighed.status == "finished":
                rows = [row for row in weighed.rows["dev"] if row.example_id in kept]
                self.weighed[name] = replace(weighed, rows={"dev": rows})

    # ------------------------------------------------------------ who is out

    def _look(self, depth: int, learning: Collection[str] = (), *, early: bool = False) -> None:
        """Drop who is shown to be lower after so many rounds: among all, or among those that are
        `learning`, by others that have had a part of their training; `early`, before anything is
        trained."""
        if self.exhaustive or (depth == len(self.plan) and not learning):
            return
        task = self.trials.task
        self.in_parts.update(learning)
        measured = [example for examples in self.plan[:depth] for example in examples]
        if learning:
            shown = {n: self.weighed[n] for n in self._running() if n in learning}
            led = {name: weighed for name, weighed in shown.items() if _is_paused(weighed)}
        else:
            # Who is out by now was in the lead perhaps, when the first bets were made.
            shown = {
                name: weighed
                for name, weighed in self.weighed.items()
                if weighed.status in MEASURED and not _is_paused(weighed)
            }
            led = shown
        scores = {name: _scores(weighed) for name, weighed in shown.items()}
        known = {name: candidate(weighed, task) for name, weighed in shown.items()}
        leading = [name for name in led if known[name].eligible]
        p_values = behind(
            *(scores, measured),
            margin=task.tolerance,
            leading=leading,
            no_dearer={
                (name, rival)
                for name, rival in permutations(known, 2)
                if no_dearer(known[rival], known[name])
            },
        )
        running = [name for name in self._running() if name in shown]
        while running:
            name = min(running, key=lambda one: p_values[one] / self._chance(one, early))
            rivals = [n for n in leading if n != name and self.weighed[n].status == "finished"]
            by = max(rivals, key=lambda rival: self._mean(rival, measured), default=name)
            level = self._chance(name, early) * share(CONFIDENCE, self._num_left())
            running.remove(name)
            if p_values[name] > level:
                return
            if self._mean(name, measured) < self._mean(by, measured):
                self._drop(name, by, measured)

    def _chance(self, name: str, early: bool) -> float:
        """Of a recipe's chance to be dropped wrongly, what belongs to such a look: there is another
        chance with each part of its training, and with rivals that are only trained later."""
        if name in self.in_parts:
            return 1 / (1 + len(PARTS))
        if not self.dear or name in self.dear:
            return 1.0
        return EARLY if early else 1 - EARLY

    def _num_left(self) -> int:
        """How many recipes of models were not dropped so far, those to come among them."""
        gone = [w for w in self.weighed.values() if w.status == "eliminated"]
        return len(self.models) - len(gone)

    def _drop(self, name: str, by: str, measured: Sequence[Example]) -> None:
        scores = f"{self._mean(name, measured):.3f} against {self._mean(by, measured):.3f}"
        number = f"{len(measured)} of {len(self.trials.task.dev)} dev examples"
        higher = by
        if _is_paused(self.weighed[name]):
            curve = self.weighed[name].curve
            number = f"{curve['step']} of {curve['num_steps']} steps of training, on {number}"
            higher = f"{by} after about as much of its own training"
        why = (
            f"dropped after {number}: shown to be lower than {higher} ({scores} on these), however "
            "often one looks"
        )
        out = replace(self.weighed[name], status="eliminated", why=why)
        self.weighed[name] = self.trials.out(out)

    def _mean(self, name: str, measured: Sequence[Example]) -> float:
        ids = {example.id for example in measured}
        rows = [row for row in self.weighed[name].rows["dev"] if row.example_id in ids]
        values = [row.score.value for row in rows if row.score is not None]
        return sum(values) / max(1, len(values))

    def _unbeatable(self, but: str) -> str | None:
        """Another recipe that is shown to be within the tolerance of a perfect score."""
        measured, tolerance = self.plan[0], self.trials.task.tolerance
        for name in self._running():
            if name == but:
                continue
            own = _scores(self.weighed[name])
            perfect = dict.fromkeys(own, 1.0)
            # No two scores from 0 to 1 are more than 1 apart: then there is nothing to be shown.
            if tolerance >= 1 or overtaken(
                perfect, own, measured, margin=-tolerance, level=1 - CONFIDENCE
            ):
                return name
        return None

    # ------------------------------------------------------------ what explains the others

    def _explain(self, recipe: Recipe) -> None:
        """Measure a diagnostic: on all of dev where it was asked for by name."""
        weighed = self.trials.enter(recipe)
        self.weighed[recipe.name] = weighed
        if weighed.status != "finished":
            return
        order = [example for examples in self.plan for example in examples]
        if not (recipe.name in self.trials.named or is_one_of(recipe, self.trials.named)):
            measured = {
                name: {row.example_id for row in one.rows.get("dev", ())}
                for name, one in self.weighed.items()
            }
            order = list(diagnosed(recipe.name, order, measured))
        try:
            weighed = self.trials.advance(weighed, order, alone=0)
        except (OutOfTimeError, SpentError) as error:
            weighed = self.trials.out(replace(weighed, status="skipped", why=str(error)))
        else:
            weighed = self.trials.finish(weighed)
        self.weighed[recipe.name] = weighed


def _is_paused(weighed: Weighed) -> bool:
    """Whether a recipe has had only a part of its training; what ended by itself has had all."""
    return bool(weighed.curve) and not is_whole(weighed.curve)


def _scores(weighed: Weighed) -> dict[str, float | None]:
    """By example; None where it failed."""
    return {r.example_id: None if r.score is None else r.score.value for r in weighed.rows["dev"]}

"""All recipes over dev: round by round, dropping on the way who cannot win any more.

    controls that need no model ─ whole
    prompts, heads ─ round 1 ─┐
    trained weights ─ round 1 ┴→ look → round 2 → look → … → whole → diagnostics

A look drops a recipe when another one, which the task's limits allow, is shown to score more than
the tolerance above it (`measure/race.py`). Then it could not be chosen, neither for its score nor
for being cheaper. With trained weights first in line nothing is saved: they come after the first
round of all others, and only if a perfect score would still win.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from steelyard.core import Example, Recipe
from steelyard.errors import SpentError
from steelyard.lifecycle.trials import CONFIDENCE, Trials
from steelyard.measure.diagnostics import diagnosed
from steelyard.measure.race import overtaken, rounds
from steelyard.measure.trial import ALONE, OutOfTimeError
from steelyard.measure.verdict import Weighed, candidate
from steelyard.recipes import DIAGNOSTICS, is_one_of


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
        self._look(1)
        for recipe in dear:
            self._start_dear(recipe)
        self._go_on()
        for recipe in (recipe for recipe in self.recipes if recipe not in asked):
            self._explain(recipe)
        return [self.weighed[recipe.name] for recipe in self.recipes]

    # ------------------------------------------------------------ rounds

    def _start(self, recipe: Recipe, numbers: range, spare_seconds: float = 0.0) -> None:
        """Build a recipe and measure it on the first rounds."""
        weighed = self.trials.enter(recipe, spare_seconds=spare_seconds)
        self.weighed[recipe.name] = weighed
        if weighed.status != "finished":
            return
        if recipe.model not in self.warm:
            self.warm.add(recipe.model)
            self.trials.warm_up(recipe)
        for number in numbers:
            try:
                self._advance(recipe.name, number)
            except (OutOfTimeError, SpentError) as error:
                late = replace(self.weighed[recipe.name], status="skipped", why=str(error))
                self.weighed[recipe.name] = self.trials.out(late)
                return

    def _start_dear(self, recipe: Recipe) -> None:
        """The same for one that must be trained, if it can still win."""
        unbeatable = self._unbeatable()
        if unbeatable is None:
            self._start(recipe, range(1), self._seconds_left())
            return
        why = f"not even a perfect score would beat {unbeatable} by more than the tolerance"
        self.weighed[recipe.name] = self.trials.out(Weighed(recipe, False, "skipped", why=why))

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

    def _look(self, depth: int) -> None:
        """Drop who is shown to be lower after so many rounds."""
        if self.exhaustive or depth == len(self.plan):
            return
        task = self.trials.task
        measured = [example for examples in self.plan[:depth] for example in examples]
        running = self._running()
        scores = {
            name: _scores(weighed)
            for name, weighed in self.weighed.items()
            if weighed.status == "finished"
        }
        eligible = [n for n in scores if candidate(self.weighed[n], task).eligible]
        # Half, so that of two equal recipes one is dropped in at most 1 − confidence.
        level = (1 - CONFIDENCE) / 2 / max(1, len(self.recipes) - 1)
        rules = {"margin": task.tolerance, "level": level}
        best_first = sorted(eligible, key=lambda name: -self._mean(name, measured))
        for name in running:
            by = next(
                (
                    rival
                    for rival in best_first
                    if rival != name and overtaken(scores[name], scores[rival], measured, **rules)
                ),
                None,
            )
            if by is not None:
                self._drop(name, by, measured)

    def _drop(self, name: str, by: str, measured: Sequence[Example]) -> None:
        scores = f"{self._mean(name, measured):.3f} against {self._mean(by, measured):.3f}"
        why = (
            f"dropped after {len(measured)} of {len(self.trials.task.dev)} dev examples: shown to "
            f"be lower than {by} ({scores} on these), however often one looks"
        )
        out = replace(self.weighed[name], status="eliminated", why=why)
        self.weighed[name] = self.trials.out(out)

    def _mean(self, name: str, measured: Sequence[Example]) -> float:
        ids = {example.id for example in measured}
        rows = [row for row in self.weighed[name].rows["dev"] if row.example_id in ids]
        values = [row.score.value for row in rows if row.score is not None]
        return sum(values) / max(1, len(values))

    def _unbeatable(self) -> str | None:
        """A recipe that is shown to be within the tolerance of a perfect score."""
        measured = self.plan[0]
        for name in self._running():
            own = _scores(self.weighed[name])
            perfect = dict.fromkeys(own, 1.0)
            if overtaken(
                perfect, own, measured, margin=-self.trials.task.tolerance, level=1 - CONFIDENCE
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


def _scores(weighed: Weighed) -> dict[str, float | None]:
    """By example; None where it failed."""
    return {r.example_id: None if r.score is None else r.score.value for r in weighed.rows["dev"]}

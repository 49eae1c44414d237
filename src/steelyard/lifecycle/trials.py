"""Recipes built and measured, one after the other, each row kept as it comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from steelyard.core import Example, Recipe, RecipeReport, Row, Split, Task
from steelyard.errors import DoesNotFitError, SearchError, StoreError, TrainingError
from steelyard.lifecycle.events import Ended, Listener, Measured, Searching, Started, Training
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.planning import check_memory
from steelyard.measure.diagnostics import diagnosed
from steelyard.measure.grading import Grader
from steelyard.measure.trial import OutOfTimeError, Price, measure, renewed
from steelyard.measure.verdict import Weighed, checked, report
from steelyard.recipes import (
    CONTROLS,
    DIAGNOSTICS,
    Built,
    Lookup,
    Workshop,
    build,
    is_one_of,
    model_of,
)
from steelyard.store import TrialRef

CONFIDENCE = 0.95
TEST_SHARE = 0.2  # of a time limit is kept for the sealed test. Source: ours


@dataclass(frozen=True)
class Trials:
    """What all trials of one call of `weigh` share.

    `named` are the recipes that were asked for by name: diagnostics among them are measured on all
    of dev, and not on the part of it that explains enough.
    """

    task: Task
    seed: int
    home: Home
    lookup: Lookup
    grader: Grader
    listen: Listener
    started: float
    minutes: float | None
    num_seeds: int = 1
    named: tuple[str, ...] = ()

    def on_dev(self, recipe: Recipe) -> Weighed:
        """Build a recipe and measure it on dev; whatever goes wrong stays with this recipe."""
        self.listen(Started(recipe.name))
        weighed = Weighed(
            recipe,
            is_one_of(recipe, CONTROLS),
            "skipped",
            diagnostic=is_one_of(recipe, DIAGNOSTICS),
        )
        try:
            self._check_time(f"the time limit came before {recipe.name} could start")
            check_memory(recipe, self.task)
            built, rows = self.answers(recipe, "dev")
            weighed = checked(
                replace(
                    weighed,
                    status="finished",
                    setup_seconds=built.setup_seconds,
                    curve=built.curve,
                    note=built.note,
                    reflection_usd=self._reflection_price.of(built.reflection, 0.0),
                    rows={"dev": rows},
                )
            )
            if recipe.weights.method != "none" and weighed.status == "finished":
                weighed = replace(weighed, seed_scores=self._with_seeds(recipe, rows))
        except (OutOfTimeError, DoesNotFitError) as error:
            weighed = replace(weighed, why=str(error))
        except (TrainingError, SearchError, StoreError) as error:
            late = isinstance(error.__cause__, TimeoutError)
            weighed = replace(weighed, status="skipped" if late else "failed", why=str(error))
        self.listen(Ended(self.report(weighed)))
        return weighed

    def _with_seeds(self, recipe: Recipe, rows: Sequence[Row]) -> tuple[float, ...]:
        """Dev scores of the recipe with one seed after another, of which `rows` is the first.

        A seed that fails, or that there is no time for, ends the series.
        """
        scores = [_mean_score(rows)]
        for more in range(1, self.num_seeds):
            other = replace(self, seed=self.seed + more, num_seeds=1)
            try:
                scores.append(_mean_score(other._measure(other._build(recipe), "dev")))
            except (OutOfTimeError, TrainingError, StoreError):
                break
        return tuple(scores) if self.num_seeds > 1 else ()

    def on_test(self, weighed: Weighed) -> Weighed:
        """Measure a recipe on the sealed test as well."""
        _, rows = self.answers(weighed.recipe, "test")
        return replace(weighed, rows={**weighed.rows, "test": rows})

    def answers(self, recipe: Recipe, split: Split) -> tuple[Built, list[Row]]:
        """A recipe as a system, and its rows on a split; what is stored is not done again."""
        built = self._build(recipe)
        return built, self._measure(built, split)

    def _examples(self, recipe: Recipe, split: Split) -> Sequence[Example]:
        """Those that a recipe is measured on: of a diagnostic that nobody named, as many as explain
        the others."""
        whole = self.task.split(split)
        named = recipe.name in self.named or is_one_of(recipe, self.named)
        return diagnosed(whole) if is_one_of(recipe, DIAGNOSTICS) and not named else whole

    def report(self, weighed: Weighed) -> RecipeReport:
        """A recipe's line of the league table."""
        return report(weighed, self.grader, self.task, confidence=CONFIDENCE, seed=self.seed)

    def _build(self, recipe: Recipe) -> Built:
        workshop = Workshop(
            database=self.home.database,
            artefacts=self.home.artefacts,
            jobs=self.home.jobs,
            seed=self.seed,
            grade=self.grader.grade,
            lookup=self.lookup,
            log=lambda progress: self.listen(Training(recipe.name, progress)),
            told=lambda done, total: self.listen(Searching(recipe.name, done, total)),
            deadline=self._deadline("dev"),
        )
        return build(recipe, self.task, workshop)

    def _measure(self, built: Built, split: Split) -> list[Row]:
        recipe, database = built.system.recipe, self.home.database
        examples = self._examples(recipe, split)
        trial = TrialRef(self.task.hash, recipe.name, built.fingerprint, split, self.seed)
        stored = database.rows(trial)
        price = self._price(recipe)
        done = {
            example.id: renewed(row, example, self.grader, price)
            for example in examples
            if (row := stored.get(example.id)) is not None
        }
        seen = dict(done)

        def save(rows: Sequence[Row]) -> None:
            database.add_rows(trial, rows)
            seen.update((row.example_id, row) for row in rows)
            scores = [row.score.value for row in seen.values() if row.score is not None]
            mean = sum(scores) / len(scores) if scores else None
            self.listen(Measured(recipe.name, split, len(seen), len(examples), mean))

        return measure(
            built.system,
            examples,
            self.grader,
            price=price,
            done=done,
            save=save,
            deadline=self._deadline(split),
        )

    def _price(self, recipe: Recipe) -> Price:
        hour = self.task.usd_per_machine_hour
        if recipe.model == recipe.name:
            return Price(hour)
        model = model_of(self.task, recipe)
        return Price(hour, model.usd_per_1m_input, model.usd_per_1m_cached, model.usd_per_1m_output)

    @property
    def _reflection_price(self) -> Price:
        """Of its tokens; the time that it took is in the set-up's seconds."""
        model = self.task.search.reflection
        if model is None:
            return Price(0.0)
        return Price(0.0, model.usd_per_1m_input, model.usd_per_1m_cached, model.usd_per_1m_output)

    def _deadline(self, split: Split) -> float | None:
        """When work on a split must stop; the sealed test, once opened, is always finished."""
        if self.minutes is None or split == "test":
            return None
        return self.started + 60 * self.minutes * (1 - TEST_SHARE)

    def _check_time(self, why: str) -> None:
        deadline = self._deadline("dev")
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTimeError(why)


def _mean_score(rows: Sequence[Row]) -> float:
    scores = [row.score.value for row in rows if row.score is not None]
    return sum(scores) / len(scores)

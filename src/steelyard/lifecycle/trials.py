"""Recipes built and measured, each row kept as it comes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from steelyard.core import Example, Recipe, RecipeReport, Row, Split, Status, Task
from steelyard.errors import (
    DoesNotFitError,
    SearchError,
    SpentError,
    StoreError,
    TrainingError,
)
from steelyard.lifecycle.events import Ended, Listener, Measured, Searching, Started, Training
from steelyard.lifecycle.guards import guards
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.injections import injections
from steelyard.lifecycle.planning import check_memory
from steelyard.measure.grading import Grader
from steelyard.measure.money import price_of
from steelyard.measure.trial import ALONE, OutOfTimeError, Price, batches, measure, renewed
from steelyard.measure.verdict import Weighed, checked, report, usage_note
from steelyard.models import Account
from steelyard.recipes import (
    CONTROLS,
    DIAGNOSTICS,
    Built,
    Lookup,
    Workshop,
    build,
    is_one_of,
    model_of,
    recipe_toml,
    why_not,
)
from steelyard.store import TrialRef

CONFIDENCE = 0.95
TEST_SHARE = 0.2  # of a limit of time or money is kept for the sealed test. Source: ours


@dataclass(frozen=True)
class Trials:
    """What all trials of one call of `weigh` share, and the systems that are built.

    `named` are the recipes that were asked for by name; `account` pays for models behind URLs.
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
    built: dict[Recipe, Built] = field(default_factory=dict)
    account: Account = field(default_factory=Account)

    def enter(self, recipe: Recipe, *, spare_seconds: float = 0.0, until: float = 1.0) -> Weighed:
        """A recipe built, with no rows yet, or why it was not; whatever goes wrong stays with it.

        Of a time limit, `spare_seconds` are left for what else must be done. After the share
        `until` of its steps a training pauses; entered again, it goes on.
        """
        self.listen(Started(recipe.name))
        if recipe in self.built and self.built[recipe].unfinished is not None:
            del self.built[recipe]
        weighed = Weighed(
            recipe,
            is_one_of(recipe, CONTROLS),
            "skipped",
            diagnostic=is_one_of(recipe, DIAGNOSTICS),
        )
        if (why := why_not(recipe, self.task)) is not None:
            return self.out(replace(weighed, why=why))
        try:
            self._check_time(f"the time limit came before {recipe.name} could start")
            check_memory(recipe, self.task)
            built = self._build(recipe, spare_seconds, until)
        except (OutOfTimeError, DoesNotFitError, SpentError) as error:
            return self.out(replace(weighed, why=str(error)))
        except (TrainingError, SearchError, StoreError) as error:
            late = isinstance(error.__cause__, TimeoutError)
            status: Status = "skipped" if late else "failed"
            return self.out(replace(weighed, status=status, why=str(error)))
        return replace(
            weighed,
            status="finished",
            setup_seconds=built.setup_seconds,
            curve=built.curve,
            note=built.note,
            asked_usd=self._asked_usd(built),
        )

    def advance(self, weighed: Weighed, examples: Sequence[Example], *, alone: int) -> Weighed:
        """The recipe measured on some more examples of dev, the last `alone` one by one; `failed`
        when it failed on too many.

        Raises:
            OutOfTimeError: the time limit came before the last one.
            SpentError: the money ended before it.
        """
        self.listen(Started(weighed.recipe.name))
        rows = self._measure(self._build(weighed.recipe), "dev", examples, alone=alone)
        more = replace(weighed, rows={"dev": [*weighed.rows.get("dev", ()), *rows]})
        more = checked(more, len(self.task.dev))
        return more if more.status == "finished" else self.out(more)

    def warm_up(self, recipe: Recipe) -> float | None:
        """Have a model answer once before it is timed, unless it was measured before: the first
        answer pays for what is loaded on first use. Returns the seconds that took."""
        built, price = self._build(recipe), price_of(recipe, self.task)
        named = (self.task.hash, recipe.name, built.fingerprint)
        if self.home.database.rows(TrialRef(*named, "dev", self.seed)):
            return None
        started, once = time.monotonic(), [self.task.train[:1]]
        measure(built.system, once, self.grader, price=price, done={}, save=lambda _: None)
        return time.monotonic() - started

    def out(self, weighed: Weighed) -> Weighed:
        """The recipe as it is, and said to be through; its system is let go, and what its training
        would have gone on from, unless another `weigh` with more time would."""
        gone = self.built.pop(weighed.recipe, None)
        if gone is not None and gone.unfinished is not None and not self.is_late():
            shared = {built.unfinished for built in self.built.values()}
            if gone.unfinished not in shared:
                shutil.rmtree(gone.unfinished, ignore_errors=True)
        self.listen(Ended(self.report(weighed)))
        return weighed

    def finish(self, weighed: Weighed) -> Weighed:
        """A recipe that is through with dev, with what more seeds come to, and said to be so."""
        weighed = checked(weighed)
        told = usage_note(weighed.recipe, weighed.rows.get("dev", ()))
        weighed = replace(weighed, note=" ".join(filter(None, (weighed.note, told))) or None)
        if weighed.recipe.weights.method != "none" and weighed.status == "finished":
            scores = self._with_seeds(weighed.recipe, weighed.rows["dev"])
            weighed = replace(weighed, seed_scores=scores)
        self.listen(Ended(self.report(weighed)))
        return weighed

    def _with_seeds(self, recipe: Recipe, rows: Sequence[Row]) -> tuple[float, ...]:
        """Dev scores of the recipe with one seed after another, of which `rows` is the first.

        A seed that fails, or that there is no time for, ends the series.
        """
        scores = [_mean_score(rows)]
        for more in range(1, self.num_seeds):
            other = replace(self, seed=self.seed + more, num_seeds=1, built={})
            try:
                scores.append(_mean_score(other.answers(recipe, "dev")[1]))
            except (OutOfTimeError, TrainingError, StoreError):
                break
        return tuple(scores) if self.num_seeds > 1 else ()

    def on_test(self, weighed: Weighed) -> Weighed:
        """The recipe measured on the sealed test as well, with the money that is kept for it.

        None is answered alone: what a lone caller waits is known from dev.
        """
        self.account.held_back_usd = 0.0
        rows = self._measure(self._build(weighed.recipe), "test", self.task.test, alone=0)
        return replace(weighed, rows={**weighed.rows, "test": rows})

    def guarded(self, weighed: Weighed) -> Weighed:
        """The recipe with what training may have spoilt, if there is time to look."""
        if self.is_late():
            return weighed
        built = self._build(weighed.recipe)
        found = guards(built, self.task, self.grader, self.home, seed=self.seed)
        return replace(weighed, guards=found)

    def injected(self, weighed: Weighed) -> Weighed:
        """The recipe with how often it obeys what is planted in its passages, if there is time and
        money to look."""
        if not weighed.recipe.context.passages or self.is_late():
            return weighed
        built, rows = self._build(weighed.recipe), weighed.rows.get("dev", ())
        with suppress(SpentError):
            found = injections(
                *(built, self.task, rows, self.home), confidence=CONFIDENCE, seed=self.seed
            )
            return replace(weighed, injections=found)
        return weighed

    def answers(self, recipe: Recipe, split: Split) -> tuple[Built, list[Row]]:
        """A recipe as a system, and its rows on a split; what is stored is not done again."""
        built = self._build(recipe)
        return built, self._measure(built, split, self.task.split(split))

    def report(self, weighed: Weighed) -> RecipeReport:
        """A recipe's line of the league table."""
        line = report(weighed, self.grader, self.task, confidence=CONFIDENCE, seed=self.seed)
        recipe = weighed.recipe
        return line if recipe.model == recipe.name else replace(line, toml=recipe_toml(recipe))

    def _build(self, recipe: Recipe, spare_seconds: float = 0.0, until: float = 1.0) -> Built:
        if recipe in self.built:
            return self.built[recipe]
        deadline = self._deadline("dev")
        workshop = Workshop(
            database=self.home.database,
            artefacts=self.home.artefacts,
            jobs=self.home.jobs,
            seed=self.seed,
            grade=self.grader.grade,
            lookup=self.lookup,
            log=lambda progress: self.listen(Training(recipe.name, progress)),
            told=lambda done, total: self.listen(Searching(recipe.name, done, total)),
            deadline=None if deadline is None else deadline - spare_seconds,
            until=until,
            account=self.account,
        )
        self.built[recipe] = build(recipe, self.task, workshop)
        return self.built[recipe]

    def _measure(
        self, built: Built, split: Split, examples: Sequence[Example], *, alone: int = ALONE
    ) -> list[Row]:
        recipe, database = built.system.recipe, self.home.database
        trial = TrialRef(self.task.hash, recipe.name, built.fingerprint, split, self.seed)
        stored = database.rows(trial)
        if self._is_elsewhere(recipe):  # what failed there may not fail again
            stored = {id_: row for id_, row in stored.items() if row.error is None}
        price = price_of(recipe, self.task)
        done = {
            example.id: renewed(row, example, self.grader, price)
            for example in examples
            if (row := stored.get(example.id)) is not None
        }
        whole = {example.id for example in self.task.split(split)}
        seen = {id_: row.score for id_, row in stored.items() if id_ in whole}

        def save(rows: Sequence[Row]) -> None:
            if rows:
                database.add_rows(trial, rows)
            seen.update((row.example_id, row.score) for row in rows)
            scores = [score.value for score in seen.values() if score is not None]
            mean = sum(scores) / len(scores) if scores else None
            self.listen(Measured(recipe.name, split, len(seen), len(whole), mean))

        if len(done) == len(examples):
            save([])  # nothing to ask, and yet something to tell
        return measure(
            built.system,
            batches(examples, alone),
            self.grader,
            price=price,
            done=done,
            save=save,
            deadline=self._deadline(split),
        )

    def _is_elsewhere(self, recipe: Recipe) -> bool:
        """Whether a server answers for the recipe."""
        own = recipe.model == recipe.name or recipe.weights.method == "head"
        return not own and model_of(self.task, recipe).url is not None

    def _asked_usd(self, built: Built) -> float:
        """Of the tokens that other models wrote; the time they took is in the set-up's seconds."""
        task = self.task
        asked = (
            (task.search.reflection, built.reflection),
            (task.knowledge.paraphrase, built.paraphrasing),
        )
        return sum(Price(0.0, spec).of(usage, 0.0) for spec, usage in asked)

    def _deadline(self, split: Split) -> float | None:
        """When work on a split must stop; the sealed test, once opened, is always finished."""
        if self.minutes is None or split == "test":
            return None
        return self.started + 60 * self.minutes * (1 - TEST_SHARE)

    def _check_time(self, why: str) -> None:
        if self.is_late():
            raise OutOfTimeError(why)

    def is_late(self) -> bool:
        """Whether the time for all but the sealed test is over."""
        deadline = self._deadline("dev")
        return deadline is not None and time.monotonic() > deadline

    def minutes_for(self, more_seconds: float) -> float:
        """The limit that what was done so far, and so many more seconds of it, would need."""
        spent = time.monotonic() - self.started
        return (spent + more_seconds) / 60 / (1 - TEST_SHARE)


def _mean_score(rows: Sequence[Row]) -> float:
    scores = [row.score.value for row in rows if row.score is not None]
    return sum(scores) / len(scores)

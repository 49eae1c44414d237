"""The verb `weigh`: build every recipe, measure it on dev, decide, open the test once."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import (
    SPLITS,
    Comparison,
    Recipe,
    RecipeReport,
    Row,
    Scorer,
    Split,
    Task,
    Verdict,
    digest,
)
from steelyard.errors import InputError, StoreError, TrainingError
from steelyard.lifecycle.events import Ended, Listener, Measured, Planned, Started, Training
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.machine import hardware, versions
from steelyard.measure import sentences
from steelyard.measure.decision import Decision, compare_pairs, decide, settle
from steelyard.measure.scorers import get_scorer
from steelyard.measure.trial import OutOfTimeError, Price, measure, renewed
from steelyard.measure.verdict import (
    Weighed,
    break_evens,
    candidate,
    checked,
    disagreements,
    finalists,
    report,
)
from steelyard.models import check_embedder, check_model
from steelyard.recipes import CONTROLS, Built, Workshop, build, model_of, select
from steelyard.store import TrialRef

CONFIDENCE = 0.95
MAX_SEED = 2**32 - 1  # the largest that every generator of random numbers takes
TEST_SHARE = 0.2  # of a time limit is kept for the sealed test. Source: ours


def weigh(
    task: Task,
    *,
    home: Path = DEFAULT_HOME,
    seed: int = 0,
    recipes: Sequence[str] | None = None,
    minutes: float | None = None,
    listen: Listener = lambda _: None,
) -> Verdict:
    """Weigh recipes for a task and keep the verdict in the home folder.

    Every answer, and every finished training, is kept as it comes: the same call after an
    interruption goes on where it stopped, and after a finished run returns at once.
    `recipes` names some instead of all that fit; the controls always run. `minutes` bounds the
    work and defaults to the task's limit.

    Raises:
        InputError: the request is wrong; nothing was done.
        WorkError: no verdict can be reached.
    """
    chosen = select(task, recipes)
    for model in task.models:
        check_model(model)
        if any(recipe.context.examples == "nearest" for recipe in chosen):
            check_embedder(model.source)
    _reach_scorer(task)
    scorer = get_scorer(task.scorer, task.output)
    minutes = task.limits.minutes if minutes is None else minutes
    if minutes is not None and not minutes > 0:  # NaN is not
        raise InputError(f"--minutes {minutes:g}: expected more than 0")
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"--seed {seed}: expected a whole number from 0 to {MAX_SEED}")
    with open_home(home) as opened:
        run = _Run(task, seed, opened, scorer, listen, time.monotonic(), minutes)
        verdict = run.weigh(chosen)
        key = digest([task.hash, seed, sorted(r.key + r.name for r in chosen)])
        opened.database.add_verdict(key, verdict.to_json())
    return verdict


@dataclass(frozen=True)
class _Run:
    """One call of `weigh`: what its steps share."""

    task: Task
    seed: int
    home: Home
    scorer: Scorer
    listen: Listener
    started: float
    minutes: float | None

    def weigh(self, recipes: Sequence[Recipe]) -> Verdict:
        task = self.task
        smallest = sentences.minimum_difference(len(task.dev))
        names = tuple(recipe.name for recipe in recipes)
        sizes = len(task.train), len(task.dev), len(task.test)
        self.listen(Planned(task.name, names, *sizes, smallest, task.notes))
        weighed = [self._on_dev(recipe) for recipe in recipes]
        finished = [w for w in weighed if w.status == "finished"]
        groups = {example.id: example.group for example in (*task.dev, *task.test)}
        candidates = [candidate(w, task) for w in finished]
        decision = decide(
            candidates,
            groups,
            tolerance=task.tolerance,
            confidence=CONFIDENCE,
            seed=self.seed,
        )
        final = finalists(decision, weighed)
        weighed = [self._on_test(w) if w.recipe.name in final else w for w in weighed]
        tests = self._test_comparisons(weighed, final, groups)
        if decision.outcome == "cannot_tell" and tests:
            eligible = [c.name for c in candidates if c.eligible]
            decision = settle(decision, tests[0], tolerance=task.tolerance, eligible=eligible)
        return self._verdict(weighed, decision, tests, final)

    def _on_dev(self, recipe: Recipe) -> Weighed:
        """Build a recipe and measure it on dev; whatever goes wrong stays with this recipe."""
        self.listen(Started(recipe.name))
        control = recipe.name.split("@")[0] in CONTROLS
        weighed = Weighed(recipe, control, "skipped")
        try:
            self._check_time(f"the time limit came before {recipe.name} could start")
            built = self._build(recipe)
            rows = self._measure(built, "dev")
            weighed = checked(
                replace(
                    weighed,
                    status="finished",
                    setup_seconds=built.setup_seconds,
                    curve=built.curve,
                    rows={"dev": rows},
                )
            )
        except OutOfTimeError as error:
            weighed = replace(weighed, why=str(error))
        except (TrainingError, StoreError) as error:
            late = isinstance(error.__cause__, TimeoutError)
            weighed = replace(weighed, status="skipped" if late else "failed", why=str(error))
        self.listen(Ended(self._report(weighed)))
        return weighed

    def _on_test(self, weighed: Weighed) -> Weighed:
        rows = self._measure(self._build(weighed.recipe), "test")
        return replace(weighed, rows={**weighed.rows, "test": rows})

    def _build(self, recipe: Recipe) -> Built:
        workshop = Workshop(
            database=self.home.database,
            artefacts=self.home.artefacts,
            jobs=self.home.jobs,
            seed=self.seed,
            log=lambda progress: self.listen(Training(recipe.name, progress)),
            deadline=self._deadline("dev"),
        )
        return build(recipe, self.task, workshop)

    def _measure(self, built: Built, split: Split) -> list[Row]:
        recipe, database = built.system.recipe, self.home.database
        examples = self.task.split(split)
        trial = TrialRef(self.task.hash, recipe.name, built.fingerprint, split, self.seed)
        stored = database.rows(trial)
        price = self._price(recipe)
        done = {
            example.id: renewed(row, example, self.scorer, price)
            for example in examples
            if (row := stored.get(example.id)) is not None
        }
        seen = dict(done)

        def save(rows: list[Row]) -> None:
            database.add_rows(trial, rows)
            seen.update((row.example_id, row) for row in rows)
            scores = [row.score.value for row in seen.values() if row.score is not None]
            mean = sum(scores) / len(scores) if scores else None
            self.listen(Measured(recipe.name, split, len(seen), len(examples), mean))

        return measure(
            built.system,
            examples,
            self.scorer,
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

    def _deadline(self, split: Split) -> float | None:
        """When work on a split must stop; the sealed test, once opened, is always finished."""
        if self.minutes is None or split == "test":
            return None
        return self.started + 60 * self.minutes * (1 - TEST_SHARE)

    def _check_time(self, why: str) -> None:
        deadline = self._deadline("dev")
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTimeError(why)

    def _report(self, weighed: Weighed) -> RecipeReport:
        return report(weighed, self.scorer, self.task, confidence=CONFIDENCE, seed=self.seed)

    def _test_comparisons(
        self, weighed: Sequence[Weighed], final: Sequence[str], groups: Mapping[str, str]
    ) -> tuple[Comparison, ...]:
        found = {
            w.recipe.name: candidate(w, self.task, "test") for w in weighed if "test" in w.rows
        }
        if len(final) < 2:
            return ()
        a, b = (found[name] for name in final)
        if len({groups[example] for example in a.scores if example in b.scores}) < 2:
            return ()  # too much failed: their reports count the errors
        return compare_pairs([(a, b)], groups, "test", confidence=CONFIDENCE, seed=self.seed)

    def _verdict(
        self,
        weighed: Sequence[Weighed],
        decision: Decision,
        tests: tuple[Comparison, ...],
        final: Sequence[str],
    ) -> Verdict:
        task = self.task
        reports = tuple(self._report(w) for w in weighed)
        named = {r.name: r for r in reports}
        against = None
        if decision.chosen is not None:
            against = next((name for name in final if name != decision.chosen), None)
        first = [n for n in (decision.chosen, against, decision.best, decision.rival) if n]
        return Verdict(
            task=task.name,
            task_hash=task.hash,
            seed=self.seed,
            outcome=decision.outcome,
            chosen=decision.chosen,
            prefer=decision.prefer,
            baseline=against,
            reason=sentences.reason(task, decision, named, tests, confidence=CONFIDENCE),
            confidence=CONFIDENCE,
            tolerance=task.tolerance,
            scorer=task.scorer,
            splits={split: len(task.split(split)) for split in SPLITS},
            minimum_detectable_difference=sentences.minimum_difference(len(task.dev)),
            test_looks=self.home.database.test_looks(task.hash),
            recipes=reports,
            comparisons=(*decision.comparisons, *tests),
            break_even=tuple(break_evens(weighed, first[:1], task, seed=self.seed)),
            disagreements=tuple(disagreements(task, weighed, first)),
            notes=task.notes,
            warnings=tuple(sentences.warnings(task, reports)),
            minutes=(time.monotonic() - self.started) / 60,
            hardware=hardware(),
            versions=versions(),
        )


def _reach_scorer(task: Task) -> None:
    """A scoring function of the user's own lives beside the task file."""
    if task.scorer.startswith("python:") and task.path is not None:
        folder = str(task.path.resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)

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
    Json,
    Recipe,
    RecipeReport,
    Task,
    Verdict,
    digest,
)
from steelyard.errors import InputError, TrialError
from steelyard.lifecycle.beside import Asked, beside
from steelyard.lifecycle.events import Listener, Planned
from steelyard.lifecycle.fresh import check_day
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.looking import open_lookup, that_differ, unseen
from steelyard.lifecycle.machine import hardware, versions
from steelyard.lifecycle.racing import Race
from steelyard.lifecycle.shares import LEARNERS
from steelyard.lifecycle.trials import CONFIDENCE, TEST_SHARE, Trials
from steelyard.measure import sentences
from steelyard.measure.curve import Amount, context_curve
from steelyard.measure.decision import Decision, compare_pairs, decide, second_look, settle
from steelyard.measure.diagnostics import explain
from steelyard.measure.grading import Grader
from steelyard.measure.money import fronts
from steelyard.measure.verdict import (
    MEASURED,
    Weighed,
    break_evens,
    candidate,
    disagreements,
    finalists,
)
from steelyard.models import Account, check_embedder, check_model, check_quantising, embedder_of
from steelyard.recipes import (
    LABELS,
    Sweep,
    check_reflection,
    parse_sweep,
    presets,
    select,
    swept,
)
from steelyard.store import Replies

MAX_SEED = 2**32 - 1  # the largest that every generator of random numbers takes


def weigh(  # noqa: PLR0913  each is an option of the verb
    task: Task,
    *,
    home: Path = DEFAULT_HOME,
    seed: int | range = 0,
    recipes: Sequence[str] | None = None,
    minutes: float | None = None,
    sweep: str | None = None,
    exhaustive: bool = False,
    built_on: str | None = None,
    listen: Listener = lambda _: None,
) -> Verdict:
    """Weigh recipes for a task and keep the verdict in the home folder.

    Every answer, and every finished training, is kept as it comes: the same call after an
    interruption goes on where it stopped, and after a finished run returns at once.
    `recipes` names some instead of all that fit; the controls always run. `minutes` bounds the
    work and defaults to the task's limit. `sweep`, such as "passages=0,1,2,4", weighs one part of
    the context in several amounts, alone unless recipes are named too; "labels=25%,50%,100%" builds
    recipes from so much of train. Recipes that are shown to be
    lower are dropped on the way; a sweep, or `exhaustive`, measures all of them to the end, and
    what training may have spoilt for all that were trained. With several seeds, such as
    range(3), recipes with trained weights are trained with each, which shows how far chance moves
    their score; all else is done with the first. `built_on` is a day: the best recipes are also
    measured as if built then, and refreshed in several ways.

    Raises:
        InputError: the request is wrong; nothing was done.
        WorkError: no verdict can be reached.
    """
    amounts = None if sweep is None else parse_sweep(sweep)
    families = [] if amounts is None else swept(task, amounts)
    if amounts is not None and recipes is None:
        recipes = [r for r in LEARNERS if amounts.part == LABELS and r in presets(task)]
    chosen = select(task, recipes)
    chosen += [recipe for family in families for recipe in family]
    _check_models(task, chosen)
    if built_on is not None:
        built_on = check_day(task, built_on)
    reach_scorer(task)
    grader = Grader.of(task)
    minutes = task.limits.minutes if minutes is None else minutes
    if minutes is not None and not minutes > 0:  # NaN is not
        raise InputError(f"--minutes {minutes:g}: expected more than 0")
    seeds = _checked(seed)
    started = time.monotonic()
    with open_home(home) as opened:
        lookup = unseen(open_lookup(task, opened, chosen), task)
        chosen, lookup = that_differ(chosen, lookup)
        trials = Trials(
            *(task, seeds[0], opened, lookup, grader, listen, started, minutes),
            num_seeds=len(seeds),
            named=tuple(recipes or ()),
            account=open_account(task, opened),
        )
        run = _Run(trials, amounts, families, exhaustive or sweep is not None, built_on)
        verdict = run.weigh(chosen)
        key = digest([task.hash, *seeds, sorted(r.key + r.name for r in chosen)])
        opened.database.add_verdict(key, verdict.to_json(), task.path)
    return verdict


def _check_models(task: Task, chosen: Sequence[Recipe]) -> None:
    """Say early that a model that the recipes need is not there.

    Raises:
        ModelError: it is not.
        MissingExtraError: what runs it is not installed.
    """
    for model in task.models:
        check_model(model)
        if any(recipe.embeds for recipe in chosen):
            check_embedder(embedder_of(model))
    if task.search.reflection is not None and any(r.context.reflection for r in chosen):
        check_reflection()
        check_model(task.search.reflection)
    if task.knowledge.paraphrase is not None and any(r.weights.paraphrases for r in chosen):
        check_model(task.knowledge.paraphrase)
    if any(recipe.weights.method == "qlora" for recipe in chosen):
        check_quantising()


def _checked(seed: int | range) -> range:
    """The seeds to weigh with.

    Raises:
        InputError: there are none, or some that no generator of random numbers takes.
    """
    seeds = seed if isinstance(seed, range) else range(seed, seed + 1)
    if not seeds:
        raise InputError("--seeds: expected at least 1")
    for one in (seeds[0], seeds[-1]):
        if not 0 <= one <= MAX_SEED:
            raise InputError(f"--seed {one}: expected a whole number from 0 to {MAX_SEED}")
    return seeds


@dataclass(frozen=True)
class _Run:
    """One call of `weigh`: from trials to a verdict."""

    trials: Trials
    sweep: Sweep | None
    families: Sequence[Sequence[Recipe]]
    exhaustive: bool
    built_on: str | None = None

    @property
    def task(self) -> Task:
        return self.trials.task

    @property
    def seed(self) -> int:
        return self.trials.seed

    def weigh(self, recipes: Sequence[Recipe]) -> Verdict:
        task = self.task
        smallest = sentences.minimum_difference(len(task.dev))
        names = tuple(recipe.name for recipe in recipes)
        sizes = len(task.train), len(task.dev), len(task.test)
        notes = (*task.notes, *self.trials.lookup.notes)
        self.trials.listen(Planned(task.name, names, *sizes, smallest, notes))
        race = Race(self.trials, recipes, self.exhaustive)
        measured = race.run()
        diagnostics = [w for w in measured if w.diagnostic]
        weighed = [w for w in measured if not w.diagnostic]
        finished = [w for w in weighed if w.status == "finished"]
        groups = {example.id: example.group for example in (*task.dev, *task.test)}
        candidates = [candidate(w, task) for w in finished]
        short = race.too_short()
        if short is not None and len(finished) < 2:
            through = ", ".join(w.recipe.name for w in finished) or "none"
            raise TrialError(f"no verdict: {short}. Finished: {through}")
        decision = decide(
            candidates,
            groups,
            tolerance=task.tolerance,
            confidence=CONFIDENCE,
            seed=self.seed,
        )
        final = finalists(decision, weighed)
        weighed = [
            self.trials.guarded(w) if self.exhaustive and w.status == "finished" else w
            for w in weighed
        ]
        weighed = [
            self.trials.on_test(self.trials.injected(self.trials.guarded(w)))
            if w.recipe.name in final
            else w
            for w in weighed
        ]
        tests = self._test_comparisons(weighed, final, groups, CONFIDENCE)
        if decision.outcome == "cannot_tell" and tests:
            eligible = [c.name for c in candidates if c.eligible]
            [test] = self._test_comparisons(weighed, final, groups, second_look(CONFIDENCE))
            decision = settle(decision, test, tolerance=task.tolerance, eligible=eligible)
        verdict = self._verdict(weighed, diagnostics, decision, tests, final)
        if short is None:
            return verdict
        return replace(verdict, notes=(*verdict.notes, f"{short[0].upper()}{short[1:]}."))

    def _test_comparisons(
        self,
        weighed: Sequence[Weighed],
        final: Sequence[str],
        groups: Mapping[str, str],
        confidence: float,
    ) -> tuple[Comparison, ...]:
        found = {
            w.recipe.name: candidate(w, self.task, "test") for w in weighed if "test" in w.rows
        }
        if len(final) < 2:
            return ()
        a, b = (found[name] for name in final)
        if len({groups[example] for example in a.scores if example in b.scores}) < 2:
            return ()  # too much failed: their reports count the errors
        return compare_pairs([(a, b)], groups, "test", confidence=confidence, seed=self.seed)

    def _verdict(
        self,
        weighed: Sequence[Weighed],
        diagnostics: Sequence[Weighed],
        decision: Decision,
        tests: tuple[Comparison, ...],
        final: Sequence[str],
    ) -> Verdict:
        task, trials = self.task, self.trials
        reports = tuple(trials.report(w) for w in weighed)
        explaining = tuple(trials.report(w) for w in diagnostics)
        named = {r.name: r for r in reports}
        against = None
        if decision.chosen is not None:
            against = next((name for name in final if name != decision.chosen), None)
        pareto = fronts(reports)
        percents = self.sweep.values if self.sweep and self.sweep.part == LABELS else ()
        asked = Asked(percents, self.built_on)
        more = beside(trials, weighed, decision, tests, against=against, asked=asked)
        first = [n for n in (decision.chosen, against, decision.best, decision.rival) if n]
        compared = [*first, *pareto["usd_per_1k"]]
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
            test_looks=trials.home.database.test_looks(task.hash),
            recipes=(*reports, *explaining),
            comparisons=(*decision.comparisons, *tests),
            break_even=tuple(break_evens(weighed, compared, task, seed=self.seed)),
            disagreements=tuple(disagreements(task, weighed, first)),
            notes=self._notes(weighed, reports),
            warnings=tuple(sentences.warnings(task, (*reports, *explaining))),
            minutes=(time.monotonic() - trials.started) / 60,
            hardware=hardware(),
            versions=versions(),
            curves=self._curves(weighed, named),
            evaluations=_evaluations(task, weighed),
            diagnostics=self._explained((*weighed, *diagnostics)),
            pareto=pareto,
            **more,
        )

    def _notes(
        self, weighed: Sequence[Weighed], reports: Sequence[RecipeReport]
    ) -> tuple[str, ...]:
        return (
            *self.task.notes,
            *self.trials.lookup.notes,
            *(w.note for w in weighed if w.note),
            *sentences.race(self.task, reports),
            *sentences.seeds(reports, self.trials.num_seeds),
        )

    def _explained(self, weighed: Sequence[Weighed]) -> tuple[Json, ...]:
        """What the diagnostics say of other recipes."""
        measured = [candidate(w, self.task) for w in weighed if w.status in MEASURED]
        groups = {example.id: example.group for example in self.task.dev}
        return explain(measured, groups, confidence=CONFIDENCE, seed=self.seed)

    def _curves(
        self, weighed: Sequence[Weighed], reports: Mapping[str, RecipeReport]
    ) -> tuple[Json, ...]:
        if self.sweep is None:
            return ()
        finished = {w.recipe.name: w for w in weighed if w.status == "finished"}
        groups = {example.id: example.group for example in self.task.dev}
        curves = []
        for family in self.families:
            amounts = [
                Amount(value, candidate(finished[r.name], self.task), reports[r.name])
                for value, r in zip(self.sweep.values, family, strict=True)
                if r.name in finished
            ]
            curves.append(
                context_curve(
                    self.sweep.part,
                    amounts,
                    groups,
                    confidence=CONFIDENCE,
                    seed=self.seed,
                )
            )
        return tuple(curves)


def _evaluations(task: Task, weighed: Sequence[Weighed]) -> Json:
    """How many answers on dev language models gave, of how many if each recipe answered all."""
    asked = [w for w in weighed if w.recipe.model != w.recipe.name]
    done = sum(len(w.rows.get("dev", ())) + w.num_tried for w in asked)
    return {"done": done, "all": len(asked) * len(task.dev)}


def open_account(task: Task, home: Home) -> Account:
    """What may still be paid to models behind URLs, of which a part is for the sealed test."""
    models = (*task.models, task.search.reflection, task.knowledge.paraphrase)
    if all(model is None or model.url is None for model in models):
        return Account()
    replies = Replies(home.path / "replies.db", task.name)
    home.closing.callback(replies.close)
    account = Account(task.limits.usd, replies)
    account.held_back_usd = TEST_SHARE * (task.limits.usd or 0.0)
    return account


def reach_scorer(task: Task) -> None:
    """A scoring function of the user's own lives beside the task file."""
    if task.scorer.startswith("python:") and task.path is not None:
        folder = str(task.path.resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)

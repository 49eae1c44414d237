"""A trial: a row per example whatever happens, written as it comes, resumed where it stopped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example, recipe
from steelyard.core import Answer, Example, ModelSpec, Query, Recipe, Row, Score, Usage
from steelyard.errors import TrialError
from steelyard.measure import trial
from steelyard.measure.grading import Grader
from steelyard.measure.scorers import SCORERS
from steelyard.measure.trial import (
    ALONE,
    BATCH,
    OutOfTimeError,
    Price,
    batches,
    machine_ms,
    measure,
    renewed,
)

PRICED = ModelSpec("big", "big", None, None, 3.0, 0.3, 15.0)
HOURLY = Price(3.6)  # a dollar per million milliseconds
EXAMPLES = [example(f"e{number}", f"text {number}") for number in range(ALONE + BATCH + 5)]


@dataclass
class Clock:
    """Stands in for the module `time`; only a system's work moves it."""

    now: float = 100.0

    def process_time(self) -> float:
        return 0.0  # what is measured here waits

    def perf_counter(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@dataclass
class Recorder:
    """A system that takes `seconds` an answer, keeps what it was asked, and fails on `bad`."""

    clock: Clock
    seconds: float = 0.5
    bad: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    usage: Usage = Usage(10, 4, 2)
    recipe: Recipe = field(default_factory=lambda: recipe("recorder"))
    asked: list[list[str]] = field(default_factory=list)

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        return self.answer_many([Query(input, user, time)])[0]

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        inputs = [query.input for query in queries]
        self.asked.append(inputs)
        self.clock.now += self.seconds * len(inputs)
        for text in inputs:
            if text in self.bad:
                raise RuntimeError(f"cannot read {text}")
        return [self._one(text) for text in inputs]

    def _one(self, text: str) -> Answer:
        if text in self.refused:
            return Answer(valid=False, error="too long")
        return Answer("yes", f"yes to {text}", usage=self.usage)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(trial, "time", clock)
    return clock


def run(
    system: Recorder,
    examples: Sequence[Example] = EXAMPLES,
    done: dict[str, Row] | None = None,
    deadline: float | None = None,
) -> tuple[list[Row], list[list[Row]]]:
    """The rows that come back, and those that were saved, batch by batch."""
    saved: list[list[Row]] = []
    rows = measure(
        system,
        batches(examples),
        Grader(SCORERS["exact"]),
        price=HOURLY,
        done=done or {},
        save=saved.append,
        deadline=deadline,
    )
    return rows, saved


# ---------------------------------------------------------------- the plan


def test_the_last_ones_are_alone_and_the_others_before_them_by_length():
    many = BATCH + 8
    texts = ["a" * (many - number) for number in range(many)] + ["abc"] * ALONE
    examples = [example(f"e{number:03}", text) for number, text in enumerate(texts)]
    plan = batches(examples)
    assert [len(batch) for batch in plan] == [BATCH, 8] + [1] * ALONE
    assert [batch[0] for batch in plan[2:]] == examples[many:]
    lengths = [len(e.input) for batch in plan[:2] for e in batch]
    assert lengths == sorted(lengths)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=6), max_size=3 * BATCH), st.randoms(use_true_random=False))
def test_the_plan_holds_every_example_once_and_depends_on_the_split_alone(texts, chance):
    examples = [example(f"e{number}", text) for number, text in enumerate(texts)]
    plan = batches(examples)
    assert sorted(e.id for batch in plan for e in batch) == sorted(e.id for e in examples)
    assert all(1 <= len(batch) <= BATCH for batch in plan)
    assert batches(list(examples)) == plan
    alone = min(ALONE, len(examples))
    together = examples[: len(examples) - alone]
    chance.shuffle(together)
    assert batches(together + examples[len(examples) - alone :]) == plan


def test_no_examples_are_no_batches_and_no_rows(clock):
    system = Recorder(clock)
    assert batches([]) == []
    assert run(system, []) == ([], [])
    assert system.asked == []


# ---------------------------------------------------------------- the rows


def test_rows_come_back_in_the_order_of_the_plan_and_are_saved_batch_by_batch(clock):
    examples = [example(f"e{n}", "x" * (200 - n)) for n in range(ALONE + BATCH + 5)]
    rows, saved = run(Recorder(clock), examples)
    planned = [e for batch in batches(examples) for e in batch]
    assert [row.example_id for row in rows] == [e.id for e in planned]
    assert [row.group for row in rows] == [e.group for e in planned]
    assert [len(batch) for batch in saved] == [BATCH, 5] + [1] * ALONE
    plan = [[e.id for e in batch] for batch in batches(examples)]
    assert [[row.example_id for row in batch] for batch in saved] == plan


def test_the_lone_answers_have_a_latency_and_the_others_do_not(clock):
    rows, _ = run(Recorder(clock, seconds=0.5))
    together, alone = rows[:-ALONE], rows[-ALONE:]
    assert [row.latency_ms for row in alone] == [500.0] * ALONE
    assert [row.batch_size for row in alone] == [1] * ALONE
    assert {row.latency_ms for row in together} == {None}
    assert {row.batch_size for row in together} == {BATCH, 5}
    assert {row.compute_ms for row in rows} == {500.0}


def test_the_system_is_asked_for_each_example_once(clock):
    system = Recorder(clock)
    run(system)
    assert system.asked == [[e.input for e in batch] for batch in batches(EXAMPLES)]


def test_a_batch_shares_its_time_and_its_machine_price(clock):
    rows, _ = run(Recorder(clock, seconds=0.25))
    # 250 ms at $3.6 an hour is $0.00025.
    assert [row.cost_usd for row in rows] == pytest.approx([0.00025] * len(rows))


def test_a_score_is_the_scorers_and_keeps_the_answer_beside_it(clock):
    examples = [example("e0", "a", "yes"), example("e1", "b", "no")]
    rows, _ = run(Recorder(clock), examples)
    assert [row.score.value for row in rows if row.score] == [1.0, 0.0]
    assert [row.answer.text for row in rows] == ["yes to a", "yes to b"]
    assert [row.error for row in rows] == [None, None]


# ---------------------------------------------------------------- failures


def test_what_a_system_raises_becomes_the_error_of_that_example_alone(clock):
    system = Recorder(clock, bad=("text 20", "text 3"))
    rows, saved = run(system)
    errors = {row.example_id: row.error for row in rows if row.error is not None}
    assert errors == {
        "e3": "RuntimeError: cannot read text 3",
        "e20": "RuntimeError: cannot read text 20",
    }
    for row in rows:
        assert (row.score is None) == (row.error is not None)
        assert row.answer.valid == (row.error is None)
    assert len(rows) == sum(len(batch) for batch in saved) == len(EXAMPLES)
    [batch] = [b for b in batches(EXAMPLES) if len(b) == BATCH]
    singles = [[e.input] for e in batch]
    at = system.asked.index([e.input for e in batch])
    assert system.asked[at + 1 : at + 1 + BATCH] == singles


def test_an_error_that_the_system_reports_is_a_row_without_a_score(clock):
    rows, _ = run(Recorder(clock, refused=("text 1",)), EXAMPLES[:3])
    assert [row.error for row in rows] == [None, "too long", None]
    assert [row.score is None for row in rows] == [False, True, False]


def test_a_system_that_always_raises_still_gives_a_row_per_example(clock):
    system = Recorder(clock, bad=tuple(e.input for e in EXAMPLES))
    rows, _ = run(system)
    assert len(rows) == len(EXAMPLES)
    assert all(row.score is None and row.error for row in rows)


def test_a_wrong_answer_is_a_zero_and_no_error(clock):
    rows, _ = run(Recorder(clock), [example("e0", "a", "no")])
    assert rows[0].error is None
    assert rows[0].score is not None
    assert rows[0].score.value == 0.0


class Breaking:
    """A scoring function that fails."""

    name = "breaking"

    def score(self, answer: Answer, target: object) -> None:
        raise TrialError("scorer: failed")


def test_a_scorer_that_fails_stops_the_trial_and_not_silently(clock):
    with pytest.raises(TrialError, match="scorer: failed"):
        measure(
            Recorder(clock),
            batches(EXAMPLES),
            Grader(Breaking()),
            price=HOURLY,
            done={},
            save=lambda rows: None,
        )


def test_an_interruption_is_no_failed_example(clock):
    class Interrupted(Recorder):
        def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().answer_many(queries)

    saved: list[list[Row]] = []
    with pytest.raises(KeyboardInterrupt):
        measure(
            Interrupted(clock),
            batches(EXAMPLES),
            Grader(SCORERS["exact"]),
            price=HOURLY,
            done={},
            save=saved.append,
        )
    assert saved == run(Recorder(clock))[1][:3]


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("finished", [1, 2, 2 + ALONE - 1])
def test_a_resumed_trial_asks_for_the_missing_batches_only_and_gives_the_same_rows(clock, finished):
    whole, saved = run(Recorder(clock))
    done = {row.example_id: row for batch in saved[:finished] for row in batch}
    again = Recorder(clock)
    rows, fresh = run(again, done=done)
    assert rows == whole
    assert fresh == saved[finished:]
    plan = [[e.input for e in batch] for batch in batches(EXAMPLES)]
    assert again.asked == plan[finished:]


def test_a_finished_trial_asks_nothing_and_saves_nothing(clock):
    whole, _ = run(Recorder(clock))
    again = Recorder(clock)
    assert run(again, done={row.example_id: row for row in whole}) == (whole, [])
    assert again.asked == []


def test_a_row_that_is_there_is_kept_as_it_is(clock):
    whole, _ = run(Recorder(clock))
    kept = {row.example_id: row for row in whole if row.example_id in ("e10", "e11")}
    rows, saved = run(Recorder(clock, seconds=9.0), done=kept)
    assert {row.example_id: row for row in rows if row.example_id in kept} == kept
    assert not {row.example_id for batch in saved for row in batch} & set(kept)


# ---------------------------------------------------------------- the deadline


def test_the_deadline_stops_between_two_batches_and_what_was_measured_is_saved(clock):
    system = Recorder(clock, seconds=1.0)
    saved: list[list[Row]] = []
    answered = BATCH + 5 + 2
    with pytest.raises(OutOfTimeError, match=f"after {answered} of {len(EXAMPLES)} answers"):
        measure(
            system,
            batches(EXAMPLES),
            Grader(SCORERS["exact"]),
            price=HOURLY,
            done={},
            save=saved.append,
            deadline=clock.now + answered - 0.5,  # an answer takes a second
        )
    plan = [[e.id for e in batch] for batch in batches(EXAMPLES)]
    assert [[row.example_id for row in batch] for batch in saved] == plan[:4]


def test_a_finished_trial_comes_back_also_after_the_deadline(clock):
    whole, _ = run(Recorder(clock))
    done = {row.example_id: row for row in whole}
    assert run(Recorder(clock), done=done, deadline=clock.now - 1)[0] == whole


# ---------------------------------------------------------------- prices


def test_a_machine_hour_prices_time():
    assert Price(0.10).of(Usage(1000, 0, 1000), 3_600_000) == pytest.approx(0.10)
    assert Price(0.10).of(Usage(), 36_000) == pytest.approx(0.001)
    assert Price(0.0).of(Usage(5, 0, 5), 1000.0) == 0.0


def test_tokens_price_a_model_that_is_priced_by_them():
    price = Price(0.10, PRICED)
    # 600 fresh at $3, 400 cached at $0.3, 200 written at $15, per million.
    assert price.of(Usage(1000, 400, 200), 1e9) == pytest.approx(0.0018 + 0.00012 + 0.003)


def test_cached_tokens_without_a_price_cost_as_input_and_output_without_one_nothing():
    two = ModelSpec("big", "big", usd_per_1m_input=2.0)
    assert Price(0.10, two).of(Usage(1000, 400, 200), 1e9) == pytest.approx(0.002)
    free = replace(two, usd_per_1m_cached=0.0)
    assert Price(0.10, free).of(Usage(1000, 400, 200), 1e9) == pytest.approx(0.0012)
    assert Price(0.10, ModelSpec("big", "big")).of(Usage(1000), 3_600_000) == pytest.approx(0.10)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1e9))
def test_a_price_is_never_negative_and_grows_with_use(prompt, written, ms):
    cached = random.Random(prompt).randint(0, prompt)
    for price in (Price(0.1), Price(0.1, PRICED)):
        small, large = Usage(prompt, cached, written), Usage(prompt + 1, cached, written + 1)
        assert 0 <= price.of(small, ms) <= price.of(large, ms + 1)


def test_a_stored_row_is_scored_and_priced_as_today_and_its_answer_stays():
    old = Row("e1", "g", Answer("b", "b", usage=Usage(10)), Score(1.0), 36.0, 9.0, 4)
    new = renewed(old, example("e1", "x", "b"), Grader(SCORERS["exact"]), Price(100.0))
    assert new == replace(old, score=new.score, cost_usd=0.001)
    assert new.score is not None
    assert new.score.value == 1.0
    wrong = renewed(old, example("e1", "x", "c"), Grader(SCORERS["exact"]), Price(100.0))
    assert wrong.score is not None
    assert wrong.score.value == 0.0
    lost = replace(old, answer=Answer(error="lost"), score=None)
    assert (
        renewed(lost, example("e1", "x", "b"), Grader(SCORERS["exact"]), Price(100.0)).score is None
    )


def test_the_machines_time_is_what_its_cores_did_whatever_else_ran_beside_it():
    quiet, beside_others = machine_ms(1000, 1600, cores=2), machine_ms(4000, 1600, cores=2)
    assert quiet == beside_others == 800
    assert machine_ms(1000, 900, cores=2) == 450  # one of two cores was free for others


def test_where_a_child_or_another_machine_did_the_work_the_wait_counts():
    assert machine_ms(1000, 3, cores=2) == 1000

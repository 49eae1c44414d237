"""Each sign of drift raises no more false alarms than it says, and finds what there is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import fisher_exact

from steelyard.measure import drift
from steelyard.measure.drift import Sign, fallen, grown, level, lower_end, more_often, moved

STUDIES = 400
LEVEL = 0.05
# Of 400 studies at a level of 0.05, more than 34 alarms come in 1 of 1000 cases (binomial).
MOST_ALARMS = 34


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch):
    monkeypatch.setattr(drift, "PERMUTATIONS", 99)


def alarms(signs: list[Sign]) -> int:
    return sum(sign.alarm for sign in signs)


def test_embeddings_of_one_distribution_raise_as_few_alarms_as_is_said():
    rng = np.random.default_rng(0)
    signs = [
        moved("inputs", _points(rng, 30), _points(rng, 25), level=LEVEL, seed=n)
        for n in range(STUDIES)
    ]
    assert alarms(signs) <= MOST_ALARMS


def test_embeddings_from_elsewhere_are_found_and_their_distance_is_the_published_one():
    rng = np.random.default_rng(1)
    one, other = _points(rng, 60), _points(rng, 50) + 0.8
    sign = moved("inputs", one, other, level=LEVEL, seed=0)
    assert sign.alarm
    expected = 2 * cdist(one, other).mean() - cdist(one, one).mean() - cdist(other, other).mean()
    assert sign.seen == pytest.approx(expected, rel=1e-5)


def test_shares_of_one_distribution_raise_as_few_alarms_as_is_said():
    rng = np.random.default_rng(2)
    signs = [
        grown(
            "words", rng.beta(1, 6, 40).tolist(), rng.beta(1, 6, 30).tolist(), level=LEVEL, seed=n
        )
        for n in range(STUDIES)
    ]
    assert alarms(signs) <= MOST_ALARMS


def test_higher_shares_are_found_and_lower_ones_are_no_alarm():
    low, high = [0.1] * 10 + [0.0] * 20, [0.5] * 15 + [0.0] * 15
    assert grown("words", low, high, level=LEVEL, seed=0).alarm
    assert grown("words", high, low, level=LEVEL, seed=0).p_value > 0.9


def test_rates_are_tested_as_fisher_does_and_raise_as_few_alarms_as_is_said():
    rng = np.random.default_rng(3)
    signs = []
    for _ in range(STUDIES):
        was, now = int(rng.binomial(50, 0.1)), int(rng.binomial(80, 0.1))
        signs.append(more_often("errors", (was, 50), (now, 80), level=LEVEL))
        table = [[now, 80 - now], [was, 50 - was]]
        assert signs[-1].p_value == pytest.approx(fisher_exact(table, alternative="greater")[1])
    assert alarms(signs) <= MOST_ALARMS
    assert more_often("errors", (1, 50), (30, 80), level=0.001).alarm


def test_scores_looked_at_after_every_one_raise_as_few_alarms_as_is_said():
    rng = np.random.default_rng(4)
    raised = 0
    for _ in range(STUDIES):
        scores = (rng.random(240) < 0.8).astype(float).tolist()
        p = [fallen("scores", scores[:n], level=LEVEL).alarm for n in (60, 120, 180, 240)]
        raised += any(p)
    assert raised <= MOST_ALARMS


def test_scores_that_fall_are_found_and_stay_found():
    scores = [1.0, 1.0, 1.0, 0.0, 1.0] * 10 + [0.0, 0.0, 1.0, 0.0] * 30
    assert fallen("scores", scores, level=0.01).alarm
    assert fallen("scores", [*scores, *[1.0] * 50], level=0.01).alarm


@pytest.mark.parametrize("mean", [0.3, 0.9])
def test_the_lower_end_is_above_the_mean_in_as_few_studies_as_is_said(mean):
    rng = np.random.default_rng(5)
    ends = [lower_end((rng.random(40) < mean).astype(float).tolist(), LEVEL) for _ in range(200)]
    assert sum(end > mean for end in ends) <= 20  # of 200 at 0.05: more in 1 of 1000 cases
    assert np.mean(ends) > mean - 0.25


def test_all_signs_together_share_the_false_alarms():
    assert level(5, 0.01) == pytest.approx(0.002)


def test_of_too_little_nothing_is_said():
    rng = np.random.default_rng(6)
    assert moved("inputs", _points(rng, 5), _points(rng, 90), level=LEVEL, seed=0).p_value is None
    assert grown("words", [], [0.5] * 90, level=LEVEL, seed=0).p_value is None
    assert more_often("errors", (0, 0), (5, 5), level=LEVEL).alarm is False
    assert fallen("scores", [1.0] * 40, level=LEVEL).p_value is None


def _points(rng: np.random.Generator, number: int) -> np.ndarray:
    return rng.normal(size=(number, 4)).astype(np.float32)

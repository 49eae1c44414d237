"""The statistics against independent implementations, as properties, and at their edges."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from steelyard.errors import TrialError
from steelyard.measure.statistics import (
    break_even,
    cost_interval,
    detectable_difference,
    examples_needed,
    holm,
    mean_interval,
    minimum_detectable_difference,
    paired,
)


def flips(wins: int, losses: int, ties: int) -> tuple[list[float], list[float], range]:
    """0/1 scores of two systems: only a right, only b right, both right; all independent."""
    a = [1.0] * wins + [0.0] * losses + [1.0] * ties
    b = [0.0] * wins + [1.0] * losses + [1.0] * ties
    return a, b, range(len(a))


# ---------------------------------------------------------------- against other implementations


def test_the_interval_of_graded_scores_agrees_with_the_t_interval():
    rng = np.random.default_rng(1)
    a, b = rng.beta(4, 2, 300), rng.beta(3, 2, 300)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    result = paired(a, b, range(300))
    assert result.difference == pytest.approx(np.mean(a) - np.mean(b))
    assert result.interval == pytest.approx(tuple(expected), abs=0.005)


@pytest.mark.parametrize(("wins", "losses"), [(30, 12), (25, 15), (18, 17), (20, 4)])
def test_the_p_value_of_flips_agrees_with_mcnemar(wins, losses):
    from statsmodels.stats.contingency_tables import mcnemar

    a, b, groups = flips(wins, losses, 220 - wins - losses)
    expected = mcnemar([[0, wins], [losses, 0]], exact=True).pvalue
    result = paired(a, b, groups)
    assert result.p_value == pytest.approx(expected, rel=0.35, abs=0.015)
    assert (result.p_value < 0.05) == (expected < 0.05)


def test_the_p_value_of_graded_scores_agrees_with_the_paired_permutation_test():
    rng = np.random.default_rng(2)
    a, b = rng.beta(4, 2, 80), rng.beta(3, 2, 80)
    expected = stats.permutation_test(
        (a, b),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        n_resamples=9999,
        rng=np.random.default_rng(3),
    )
    result = paired(a, b, range(80))
    assert result.difference == pytest.approx(expected.statistic)
    assert result.p_value == pytest.approx(expected.pvalue, abs=0.02)


def test_clusters_of_unequal_size_agree_with_the_cluster_robust_t_interval():
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), rng.integers(1, 11, 60))
    a = np.clip(0.6 + 0.2 * rng.normal(size=60)[groups] + 0.1 * rng.normal(size=len(groups)), 0, 1)
    b = np.full(len(groups), 0.5)
    fit = OLS(a - b, np.ones(len(groups))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    half = stats.t.ppf(0.975, 59) * fit.bse[0]
    low, high = paired(a, b, groups.tolist()).interval
    assert high - low == pytest.approx(2 * half, rel=0.08)
    assert (low + high) / 2 == pytest.approx(fit.params[0], abs=0.15 * half)


def test_few_flips_agree_with_the_adjusted_wald_interval():
    """Bonett and Price 2012 by hand: (12 + 1)/102, (5 + 1)/102, ± 1.96 standard errors."""
    a, b, groups = flips(12, 5, 83)
    won, lost = 13 / 102, 6 / 102
    half = 1.96 * math.sqrt((won + lost - (won - lost) ** 2) / 102)
    assert paired(a, b, groups).interval == pytest.approx(
        (won - lost - half, won - lost + half), abs=0.015
    )


@pytest.mark.parametrize(("right", "of"), [(20, 20), (19, 20), (50, 100), (97, 100), (6, 300)])
def test_the_interval_of_a_share_agrees_with_agresti_and_coull(right, of):
    from statsmodels.stats.proportion import proportion_confint

    scores = [1.0] * right + [0.0] * (of - right)
    expected = proportion_confint(right, of, method="agresti_coull")
    expected = np.clip(expected, 0, 1)
    assert mean_interval(scores, range(of)) == pytest.approx(tuple(expected), abs=1.3 / (of + 2))


def test_holm_agrees_with_statsmodels():
    from statsmodels.stats.multitest import multipletests

    raw = np.random.default_rng(5).beta(0.3, 1, 40).tolist()
    raw += [raw[0], 0.0, 1.0]
    assert holm(raw) == pytest.approx(multipletests(raw, method="holm")[1])


@pytest.mark.parametrize(
    ("disagreement", "needed"),
    [
        (0.1, [865, 307, 115, 71, 28]),
        (0.2, [1737, 621, 238, 150, 62]),
        (0.3, [2609, 935, 361, 228, 97]),
    ],
)
def test_examples_needed_gives_the_published_table(disagreement, needed):
    points = (0.03, 0.05, 0.08, 0.10, 0.15)
    assert [examples_needed(p, disagreement=disagreement) for p in points] == needed


@pytest.mark.parametrize(("gap", "disagreement"), [(0.05, 0.1), (0.1, 0.3), (0.15, 0.3)])
def test_examples_needed_agrees_with_the_power_of_statsmodels_t_test(gap, disagreement):
    from statsmodels.stats.power import TTestPower

    effect = gap / math.sqrt(disagreement - gap**2)
    expected = TTestPower().solve_power(effect, power=0.8, alpha=0.05)
    needed = examples_needed(gap, disagreement=disagreement)
    assert needed == pytest.approx(expected, abs=3)  # the t test needs two more than the z test


def test_the_detectable_difference_of_graded_groups_agrees_with_their_standard_error():
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(80), 3)
    a = np.clip(0.6 + 0.2 * rng.normal(size=80)[groups] + 0.1 * rng.normal(size=240), 0, 1)
    b = np.full(240, 0.6)
    fit = OLS(a - b, np.ones(240)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * fit.bse[0]
    found = detectable_difference(paired(a, b, groups.tolist()).interval)
    assert found == pytest.approx(expected, rel=0.08)


def test_the_interval_of_a_cost_covers_the_mean_that_costs_are_drawn_around():
    rng = np.random.default_rng(3)
    held = 0
    for study in range(300):
        costs = rng.gamma(4.0, 0.5, size=60)
        low, high = cost_interval(costs, list(range(60)), seed=study)
        held += low <= 2.0 <= high
    assert 0.92 <= held / 300 <= 0.98


def test_costs_that_are_observed_together_count_once():
    costs = [1.0] * 30 + [2.0] * 30
    apart = cost_interval(costs, list(range(60)))
    together = cost_interval(costs, [n // 10 for n in range(60)])
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])
    with pytest.raises(TrialError, match="all 60 examples are in one group"):
        cost_interval(costs, ["one batch"] * 60)


def test_break_even_by_hand():
    costs_a, costs_b = [0.001, 0.003, 0.002, 0.004] * 5, [0.011, 0.013, 0.012, 0.014] * 5
    calls, interval = break_even(6.0, costs_a, 1.0, costs_b)
    assert calls == pytest.approx(500)
    assert interval == pytest.approx((500, 500))


def test_break_even_is_as_sure_as_the_saving_per_call():
    rng = np.random.default_rng(6)
    costs_a, costs_b = rng.uniform(0, 2, 200), rng.uniform(1, 3, 200)
    saving = stats.ttest_rel(costs_b, costs_a).confidence_interval(0.95)
    calls, interval = break_even(50, costs_a, 10, costs_b)
    assert calls == pytest.approx(40 / np.mean(costs_b - costs_a))
    assert interval == pytest.approx((40 / saving.high, 40 / saving.low), rel=0.02)


# ---------------------------------------------------------------- properties

GRADES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 2 / 3, 1.0])
ROWS = st.lists(st.tuples(GRADES, GRADES, st.integers(0, 9)), min_size=2, max_size=40).filter(
    lambda rows: len({group for _, _, group in rows}) > 1
)
FAST = settings(max_examples=60, deadline=None)


@FAST
@given(ROWS, st.integers(0, 3))
def test_exchanging_a_and_b_mirrors_everything(rows, seed):
    a, b, groups = zip(*rows, strict=True)
    there = paired(a, b, groups, seed=seed, resamples=499)
    back = paired(b, a, groups, seed=seed, resamples=499)
    assert back.difference == -there.difference
    assert back.interval == (-there.interval[1], -there.interval[0])
    assert back.p_value == there.p_value
    assert back.disagreement == pytest.approx(there.disagreement)


@FAST
@given(ROWS, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_p_is_small_exactly_when_the_interval_excludes_zero(rows, confidence):
    a, b, groups = zip(*rows, strict=True)
    result = paired(a, b, groups, confidence=confidence, resamples=999)
    low, high = result.interval
    assert (result.p_value < 1 - confidence) == (low > 0 or high < 0)
    assert -1 <= low <= result.difference + 1e-9
    assert result.difference - 1e-9 <= high <= 1
    assert 0 < result.p_value <= 1


@FAST
@given(ROWS, st.sampled_from([0.8, 0.95]))
def test_the_mean_lies_in_its_interval_and_the_interval_on_the_scale(rows, confidence):
    scores, _, groups = zip(*rows, strict=True)
    low, high = mean_interval(scores, groups, confidence=confidence, resamples=499)
    assert 0 <= low <= np.mean(scores) + 1e-9
    assert np.mean(scores) - 1e-9 <= high <= 1
    assert low < high


@FAST
@given(ROWS)
def test_names_of_groups_do_not_matter_and_a_seed_repeats(rows):
    a, b, groups = zip(*rows, strict=True)
    result = paired(a, b, groups, seed=7, resamples=499)
    assert paired(a, b, [f"g{group}" for group in groups], seed=7, resamples=499) == result
    assert mean_interval(a, groups, seed=7) == mean_interval(a, groups, seed=7)


@FAST
@given(ROWS, GRADES)
def test_one_more_tie_keeps_the_sign_and_draws_towards_zero(rows, grade):
    a, b, groups = zip(*rows, strict=True)
    before = paired(a, b, groups, resamples=499)
    after = paired([*a, grade], [*b, grade], [*groups, "new"], resamples=499)
    assert np.sign(after.difference) == np.sign(before.difference)
    assert abs(after.difference) <= abs(before.difference)


@FAST
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_shrinks_a_p_value(raw):
    adjusted = holm(raw)
    assert all(p <= q <= 1 for p, q in zip(raw, adjusted, strict=True))
    order = np.argsort(raw, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


@FAST
@given(st.floats(0.01, 1), st.floats(0.05, 1), st.floats(0.6, 0.95))
def test_the_two_planning_functions_are_inverse(difference, disagreement, power):
    needed = examples_needed(difference, disagreement=disagreement, power=power)
    found = minimum_detectable_difference(needed, disagreement=disagreement, power=power)
    assert found <= 1
    assert found <= difference + 1e-9 or needed == 2
    if needed > 2:
        one_fewer = minimum_detectable_difference(
            needed - 1, disagreement=disagreement, power=power
        )
        assert one_fewer > difference - 1e-9


# ---------------------------------------------------------------- clusters


def test_copies_of_an_example_in_one_group_tell_no_more_than_the_example():
    a, b, _ = flips(20, 8, 32)
    once = paired(a, b, range(60))
    copied = paired(a * 4, b * 4, [*range(60)] * 4)
    taken_as_independent = paired(a * 4, b * 4, range(240))
    assert copied.interval == once.interval
    assert copied.p_value == once.p_value
    assert (copied.num_examples, copied.num_groups) == (240, 60)
    width = taken_as_independent.interval[1] - taken_as_independent.interval[0]
    assert once.interval[1] - once.interval[0] > 1.8 * width


def test_the_difference_is_the_mean_over_examples_not_over_groups():
    a, b = [1.0] * 9 + [0.0], [0.0] * 9 + [1.0]
    assert paired(a, b, ["big"] * 9 + ["small"]).difference == pytest.approx(0.8)


# ---------------------------------------------------------------- little or no variance


@pytest.mark.parametrize("num_examples", [3, 20, 100, 300])
def test_ties_alone_leave_room_for_what_was_not_seen(num_examples):
    same = [1.0] * num_examples
    result = paired(same, same, range(num_examples))
    assert (result.difference, result.p_value, result.disagreement) == (0.0, 1.0, 0.0)
    low, high = result.interval
    assert low == -high
    # A flip one way that 5 % of such samples would miss: 1 − 0.05 ** (1 / n), about 3 / n.
    unseen = 1 - 0.05 ** (1 / num_examples)
    assert 0.8 * unseen < high < 1.3 * unseen + 1e-9


def test_the_interval_grows_steadily_from_no_flip_to_a_few():
    widths, ends = [], []
    for wins in range(5):
        low, high = paired(*flips(wins, 0, 100 - wins)).interval
        widths.append(high - low)
        ends.append(high)
    assert ends == sorted(ends)
    assert all(after < 1.5 * before for before, after in pairwise(widths))


def test_equal_differences_of_one_size_are_not_taken_as_certain():
    few = paired([0.8] * 4, [0.3] * 4, range(4))
    many = paired([0.8] * 100, [0.3] * 100, range(100))
    assert few.interval[0] <= 0 < few.interval[1]
    assert 0.45 < many.interval[0] < 0.5 < many.interval[1] < 0.55


def test_perfect_scores_leave_room_below_and_steady_scores_stay_narrow():
    assert mean_interval([1.0] * 20, range(20)) == pytest.approx((1 - 3 / 22, 1.0))
    low, high = mean_interval([0.8] * 100, range(100))
    assert 0.77 < low < 0.8 < high < 0.82


def test_rounding_dust_is_a_tie():
    result = paired([0.1 + 0.2] * 10, [0.3] * 10, range(10))
    assert result == paired([0.3] * 10, [0.3] * 10, range(10))


def test_two_groups_alone_prove_nothing():
    result = paired([1.0] * 50, [0.0] * 50, ["x"] * 25 + ["y"] * 25)
    assert result.interval == (-1.0, 1.0)
    assert result.p_value > 0.05


# ---------------------------------------------------------------- promises over many studies


def test_equal_systems_have_a_winner_in_at_most_5_percent_of_studies():
    rng = np.random.default_rng(8)
    winners = 0
    for seed in range(600):
        skill = rng.beta(2, 1, 60)
        a, b = (rng.random((2, 60)) < skill).astype(float)
        winners += paired(a, b, range(60), seed=seed, resamples=499).p_value < 0.05
    assert winners / 600 <= 0.05


def test_small_clustered_samples_are_covered_where_the_percentile_bootstrap_fails():
    rng = np.random.default_rng(9)
    truth = 0.12
    covered = covered_by_percentiles = 0
    counts = rng.multinomial(20, np.full(20, 0.05), size=499)
    for seed in range(400):
        groups = np.repeat(np.arange(20), rng.integers(1, 11, 20))
        own = rng.choice([1.0, -1.0, 0.0], p=[0.21, 0.09, 0.7], size=len(groups))
        shared = rng.choice([1.0, -1.0, 0.0], p=[0.21, 0.09, 0.7], size=20)[groups]
        drawn = np.where(rng.random(len(groups)) < 0.5, shared, own)
        a, b = np.maximum(drawn, 0), np.maximum(-drawn, 0)
        low, high = paired(a, b, groups.tolist(), seed=seed, resamples=499).interval
        covered += low <= truth <= high
        means = counts @ np.bincount(groups, weights=drawn) / (counts @ np.bincount(groups))
        low, high = np.quantile(means, [0.025, 0.975])
        covered_by_percentiles += low <= truth <= high
    assert covered / 400 >= 0.935
    assert covered_by_percentiles / 400 < 0.935


def exact_coverage(chances, covers):
    """The chance of a table whose interval covers the truth, summed over all tables."""
    return float(np.sum(np.asarray(chances)[np.asarray(covers)]))


def test_every_share_of_right_answers_is_covered_exactly_enough():
    """All 21 possible outcomes of 20 examples, so nothing here is left to simulation."""
    right = np.arange(21)
    intervals = np.array(
        [mean_interval([1.0] * k + [0.0] * (20 - k), range(20)) for k in right.tolist()]
    )
    coverage = [
        exact_coverage(
            stats.binom.pmf(right, 20, share),
            (intervals[:, 0] <= share + 1e-9) & (share - 1e-9 <= intervals[:, 1]),
        )
        for share in np.linspace(0.01, 0.99, 99)
    ]
    assert min(coverage) > 0.92
    assert 0.95 < np.mean(coverage) < 0.98


def test_every_paired_table_of_ten_examples_is_covered_exactly():
    tables = [(w, x, 10 - w - x) for w in range(11) for x in range(11 - w)]
    intervals = np.array([paired(*flips(*table), resamples=2_000).interval for table in tables])
    for disagreement in (0.05, 0.1, 0.3, 0.6, 0.9):
        for won in (0.5, 0.7, 1.0):
            truth = disagreement * (2 * won - 1)
            chances = stats.multinomial.pmf(
                tables, 10, [disagreement * won, disagreement * (1 - won), 1 - disagreement]
            )
            covers = (intervals[:, 0] <= truth + 1e-9) & (truth - 1e-9 <= intervals[:, 1])
            assert exact_coverage(chances, covers) > 0.945


def test_memory_stays_flat_when_resamples_and_clusters_grow():
    scores = np.random.default_rng(10).random((2, 3_000))
    tracemalloc.start()
    paired(*scores, range(3_000), resamples=2_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


# ---------------------------------------------------------------- costs


def test_break_even_when_one_option_is_always_or_never_cheaper():
    cheap, dear = [0.001] * 5, [0.002] * 5
    assert break_even(1, dear, 0, cheap) == (None, None)
    assert break_even(0, cheap, 1, dear) == (0.0, (0.0, 0.0))
    assert break_even(0, cheap, 1, cheap) == (0.0, (0.0, 0.0))
    assert break_even(1, cheap, 1, cheap) == (None, None)
    assert break_even(1, cheap, 0, cheap) == (None, None)


def test_break_even_has_an_open_end_when_some_resamples_never_overtake():
    rng = np.random.default_rng(11)
    calls, interval = break_even(10, rng.uniform(0, 1, 30), 0, rng.uniform(0.15, 1.15, 30))
    assert calls is not None
    assert interval is not None
    assert 0 < interval[0] < calls
    assert interval[1] is None


# ---------------------------------------------------------------- what cannot be compared


@pytest.mark.parametrize(
    ("a", "b", "groups", "message"),
    [
        ([], [], [], r"0 example\(s\)\. At least 2 are needed"),
        ([1], [0], ["x"], r"1 example\(s\)\. At least 2 are needed"),
        ([1, 0], [0, 1], ["x", "x"], "all 2 examples are in one group"),
        ([1, 0], [0], ["x", "y"], "a has 2, b has 1, groups has 2"),
        ([1, 0], [0, 1], ["x"], "a has 2, b has 2, groups has 1"),
        ([1, math.nan], [0, 1], ["x", "y"], r"a\[1\] is nan\. A score from 0 to 1"),
        ([1, 0], [-0.1, 1], ["x", "y"], r"b\[0\] is -0\.1\. A score from 0 to 1"),
        ([1, 0], [0, 1.5], ["x", "y"], r"b\[1\] is 1\.5\. A score from 0 to 1"),
    ],
)
def test_what_cannot_be_compared_is_an_error_not_a_number(a, b, groups, message):
    with pytest.raises(TrialError, match=f"paired comparison: .*{message}"):
        paired(a, b, groups)


def test_a_mean_of_one_example_has_no_interval():
    with pytest.raises(TrialError, match="interval of a mean: 1 example"):
        mean_interval([1.0], ["x"])


def test_costs_must_be_finite_and_not_negative():
    with pytest.raises(TrialError, match=r"costs_a\[1\] is inf\. A finite cost"):
        break_even(1, [0.1, math.inf], 0, [0.2, 0.2])
    with pytest.raises(TrialError, match=r"costs_b\[0\] is -0\.2\. A finite cost"):
        break_even(1, [0.1, 0.1], 0, [-0.2, 0.2])
    with pytest.raises(TrialError, match=r"setup_a is nan\. A finite cost"):
        break_even(math.nan, [0.1, 0.1], 0, [0.2, 0.2])


def test_shares_out_of_range_are_named():
    with pytest.raises(TrialError, match="confidence is 95"):
        paired([1, 0], [0, 1], ["x", "y"], confidence=95)
    with pytest.raises(TrialError, match="disagreement is 0"):
        examples_needed(0.1, disagreement=0)
    with pytest.raises(TrialError, match="power is 1"):
        minimum_detectable_difference(100, power=1)
    with pytest.raises(TrialError, match="difference is 0"):
        examples_needed(0)
    with pytest.raises(TrialError, match=r"1 example\(s\)"):
        minimum_detectable_difference(1)
    with pytest.raises(TrialError, match="p value 1 is nan"):
        holm([0.1, math.nan])


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []

"""Intervals over seeds cover the truth, where those of one seed do not."""

import math

import numpy as np
import pytest
from scipy import stats

from prunescope.inference import evidence, seeds
from prunescope.inference.seeds import Interval

N_STUDIES = 2000
"""Simulated studies; the Monte Carlo error of a coverage of 95 % is 0.5 %."""


def studies(n_seeds, seed_sd, rng):
    """Intervals of each seed in each study: 100 items, the same for all seeds; the truth is 0.

    Items, and items within a seed, have a standard deviation of 0.3 each, so that the mean of one
    seed has a standard error of 0.042 over items; `seed_sd` is a multiple of it.
    """
    n_items, sd = 100, 0.3
    error = math.sqrt(2) * sd / math.sqrt(n_items)
    items = rng.normal(0, sd, (N_STUDIES, 1, n_items))
    outcomes = items + rng.normal(0, sd, (N_STUDIES, n_seeds, n_items))
    outcomes += rng.normal(0, seed_sd * error, (N_STUDIES, n_seeds, 1))
    means = outcomes.mean(-1)
    reach = stats.sem(outcomes, axis=-1) * stats.t.ppf(0.975, n_items - 1)
    for values, reaches in zip(means, reach, strict=True):
        yield [Interval(v, v - r, v + r) for v, r in zip(values, reaches, strict=True)]


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 1.0, 5.0])
def test_intervals_cover_at_least_95_percent(n_seeds, seed_sd):
    """Whether seeds differ or not; never less than 95 %, up to the Monte Carlo error."""
    rng = np.random.default_rng(7)
    found = [seeds.across(each) for each in studies(n_seeds, seed_sd, rng)]
    covered = np.mean([each.low <= 0 <= each.high for each in found])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / N_STUDIES)


def test_the_interval_of_one_seed_undercovers():
    """If seeds differ as much as items leave uncertain, it covers 83 % in place of 95 %."""
    rng = np.random.default_rng(7)
    one = [each[0] for each in studies(3, 1.0, rng)]
    covered = np.mean([each.low <= 0 <= each.high for each in one])
    expected = 2 * stats.norm.cdf(1.96 / math.sqrt(2)) - 1
    assert covered == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.19, 0.3])
def test_the_p_value_is_below_0_05_where_the_interval_misses_the_threshold(threshold):
    results = [Interval(0.2, 0.1, 0.4), Interval(0.25, 0.1, 0.3), Interval(0.22, 0.2, 0.3)]
    interval = seeds.across(results)
    inside = interval.low <= threshold <= interval.high
    assert (seeds.p_value(results, threshold) >= 0.05) is inside
    for end in (interval.low, interval.high):
        assert seeds.p_value(results, end) == pytest.approx(0.05, rel=1e-6)


def test_the_interval_is_that_of_student_where_items_tell_everything():
    """Without uncertainty over items, it is the t interval of the results of the seeds."""
    values = [0.1, 0.3, 0.35]
    found = seeds.across([Interval(value, value, value) for value in values])
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found == pytest.approx((np.mean(values), low, high))


def units(values, seed):
    return [{"measured": value, "seed": seed} for value in values]


def test_seeds_that_change_nothing_leave_the_evidence_as_it_is():
    values = [0.1, 0.4, 0.2, 0.5, 0.9, 0.7]
    one = evidence.of_units("mean", units(values, ""), 0.0)
    assert one is not None
    three = [row for seed in ("", "1", "2") for row in units(values, seed)]
    assert evidence.of_units("mean", three, 0.0) == one


def test_evidence_of_several_seeds_is_weaker_than_that_of_one():
    """Seeds disagree about the sign, so the mean cannot be told from zero."""
    by_seed = {"": [0.9, 1.0, 1.1, 1.0], "1": [-0.3, -0.2, -0.3, -0.1], "2": [0.4, 0.5, 0.4, 0.6]}
    one = evidence.of_units("mean", units(by_seed[""], ""), 0.0)
    rows = [row for seed, values in by_seed.items() for row in units(values, seed)]
    all_seeds = evidence.of_units("mean", rows, 0.0)
    assert one is not None and one.p_value < 0.001
    assert all_seeds is not None and all_seeds.p_value > 0.05
    assert all_seeds.low < 0 < all_seeds.high
    assert all_seeds.value == pytest.approx(np.mean(list(by_seed.values())))


def test_a_share_stays_between_0_and_1():
    rows = units([1] * 9, "") + units([1] * 5 + [0] * 4, "1") + units([1] * 8 + [0], "2")
    found = evidence.of_units("share", rows, 0.5)
    assert found is not None
    assert found.high == 1

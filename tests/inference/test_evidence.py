"""Evidence from units: values by hand, exact coverage, other implementations, invariances."""

import math

import numpy as np
import pytest
from scipy import stats

from prunescope import finite
from prunescope.inference import evidence

SIX = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_median_far_from_the_threshold_has_the_p_value_of_a_sign_test():
    found = evidence.median(SIX, 0.7)
    assert (found.n, found.value) == (6, pytest.approx(0.35))
    assert found.p_value == pytest.approx(2 / 2**6)
    assert (found.low, found.high) == (0.1, 0.6)


@pytest.mark.parametrize("n", [8, 12, 20])
def test_the_interval_of_a_median_holds_it_as_often_as_order_statistics_say(n):
    """Skewed values; the exact coverage is a sum of binomial probabilities, at least 95 %."""
    rng, truth = np.random.default_rng(n), np.exp(0)
    drawn = np.exp(rng.normal(size=(1500, n)))
    ends = [evidence.median(values, 1.0) for values in drawn]
    held = np.mean([found.low <= truth <= found.high for found in ends])
    lowest = next(k for k in range(n) if stats.binom.cdf(k, n, 0.5) > 0.025)
    exact = 1 - 2 * stats.binom.cdf(lowest - 1, n, 0.5)
    assert exact >= 0.95
    assert held == pytest.approx(exact, abs=0.0125)


def test_too_few_units_have_no_interval_of_a_median():
    assert np.isnan(evidence.median(SIX[:4], 0).low)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_median_follows_the_unit_of_measurement(factor):
    one, other = evidence.median(SIX, 0.25), evidence.median(factor * SIX, factor * 0.25)
    assert other.p_value == one.p_value
    assert (other.low, other.high) == pytest.approx((factor * one.low, factor * one.high))


def test_a_share_of_none_may_still_be_three_in_a_hundred():
    """0 of 100: the exact upper end is 1 - 0.025^(1/100)."""
    found = evidence.share(np.zeros(100), 0.5)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert found.p_value == pytest.approx(2 / 2**100)


def test_a_mean_is_tested_by_students_t():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = evidence.mean(values, 0.0)
    error = values.std(ddof=1) / 2
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 3) * error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(2.5 / error, 3))


def test_means_hold_the_truth_as_often_as_they_say():
    drawn = np.random.default_rng(1).random((3000, 40))
    found = [evidence.mean(values, 0.5) for values in drawn]
    assert np.mean([each.low <= 0.5 <= each.high for each in found]) == pytest.approx(
        0.95, abs=0.01
    )


def test_equal_values_are_no_evidence():
    assert evidence.mean(np.full(5, 0.2), 0.1).p_value == 1


def test_ranks_in_the_same_order_correlate_and_any_monotone_change_keeps_that():
    xs = np.arange(1.0, 9.0)
    found = evidence.rank_correlation(xs, np.exp(xs))
    assert found.value == pytest.approx(1)
    assert found.p_value < 0.01
    turned = evidence.rank_correlation(xs, -np.exp(xs))
    assert turned.value == pytest.approx(-1)
    assert math.isnan(found.low)  # every sample of a perfect order is in perfect order


def test_the_interval_of_a_correlation_holds_it():
    rng = np.random.default_rng(0)
    xs = rng.normal(size=20)
    found = evidence.rank_correlation(xs, xs + rng.normal(size=20))
    assert -1 <= found.low < found.value < found.high <= 1


def test_unrelated_ranks_are_rarely_called_related(monkeypatch):
    monkeypatch.setattr(evidence, "RESAMPLES", 199)
    rng = np.random.default_rng(2)
    below = [evidence.rank_correlation(*rng.random((2, 9))).p_value < 0.05 for _ in range(60)]
    assert np.mean(below) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)


def test_units_without_a_value_do_not_count():
    rows = [{"measured": value} for value in (0.1, None, 0.3)]
    found = evidence.of_units("median", rows, 0.5)
    assert found is not None
    assert found.n == 2
    assert evidence.of_units("median", [{"measured": None}], 0.5) is None


def test_given_evidence_is_passed_on():
    row = {"n": 40, "measured": 0.5, "low": 0.2, "high": 0.8, "p_value": 0.01}
    assert evidence.of_units("given", [row], 0) == evidence.Evidence(40, 0.5, 0.2, 0.8, 0.01)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("statistic", ["median", "mean", "rank_correlation"])
def test_values_that_have_no_rank_are_refused(statistic, wrong):
    rows = [{"measured": value, "beside": value} for value in (0.1, wrong, 0.3)]
    with pytest.raises(finite.NotFinite, match=r"values of a claim's units.*make verify"):
        evidence.of_units(statistic, rows, 0.5)

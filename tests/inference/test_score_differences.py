"""Differences of scores: values by hand, coverage of intervals by simulation."""

import numpy as np
import pytest
from scipy import stats

from prunescope.inference import resampling, score_differences
from prunescope.inference.paired_tasks import PairedTask


def paired(dense, variant, name="task", family="non_generative", chance=0.25):
    return PairedTask(name, family, chance, np.array(dense, float), np.array(variant, float))


def compared(tasks):
    """Rows of the table for these tasks."""
    return score_differences.differences("score_difference", tasks, seed=0)


def by_name(rows):
    return {row["name"]: row for row in rows.to_pylist()}


RIGHT = [1] * 30 + [0] * 10
HALF = [1] * 15 + [0] * 25


def test_values_are_those_by_hand():
    """Dense has 30 of 40 right, the variant 15: above a chance of a quarter, 20 and 5."""
    row = by_name(compared([paired(RIGHT, HALF)]))["task"]
    assert row["n_items"] == 40
    assert (row["dense_score"], row["score"], row["chance"]) == (0.75, 0.375, 0.25)
    assert row["difference"] == -0.375
    assert row["kept"] == pytest.approx(0.25)
    assert row["kept_low"] < 0.25 < row["kept_high"]
    assert row["difference_low"] < -0.375 < row["difference_high"] < 0
    assert row["p_value"] < 0.001  # 15 changes, all to the worse: 2 / 2^15


def test_an_exact_p_value_of_few_changes():
    """Three changes, all to the worse: 2 of the 2^3 exchanges are as far from zero."""
    row = by_name(compared([paired([1] * 8, [1] * 5 + [0] * 3)]))["task"]
    assert row["p_value"] == pytest.approx(2 / 2**3)


@pytest.mark.parametrize("n_changed", range(5))
def test_few_changes_or_none_have_a_p_value_and_an_interval(n_changed):
    """All to the worse: both exchanges of all of them are as far from zero, 2 of 2^n."""
    variant = [0] * n_changed + [1] * (20 - n_changed)
    row = by_name(compared([paired([1] * 20, variant)]))["task"]
    assert row["p_value"] == pytest.approx(min(1, 2 / 2**n_changed))
    assert row["difference_low"] <= -n_changed / 20 <= row["difference_high"]
    assert row["difference_low"] < row["difference_high"]


def test_no_change_among_few_items_is_no_proof_of_none():
    """0 of 10: up to 31 % of all items may change (exact binomial, 97.5 %)."""
    row = by_name(compared([paired(RIGHT[25:35], RIGHT[25:35])]))["task"]
    assert (row["difference"], row["p_value"]) == (0, 1)
    assert row["difference_high"] == -row["difference_low"] == pytest.approx(1 - 0.025**0.1)


def test_shares_of_a_guessing_dense_model_are_not_told():
    quarter = [1] * 10 + [0] * 30
    row = by_name(compared([paired(quarter, HALF)]))["task"]
    assert row["dense_margin_low"] < 0
    assert row["kept"] is None


def test_tasks_of_a_family_weigh_the_same_whatever_their_size():
    tasks = [paired(RIGHT, RIGHT, "long"), paired([1] * 8, [0] * 8, "short")]
    row = by_name(compared(tasks))["non_generative"]
    assert row["difference"] == pytest.approx(-0.5)
    assert row["n_items"] == 48


def test_the_contrast_is_of_shares():
    """Choices keep everything, generation keeps half: the gap is one half."""
    written = paired([1] * 40, [1] * 20 + [0] * 20, "write", "generative", 0.0)
    row = by_name(compared([paired(RIGHT, RIGHT), written]))["non_generative minus generative"]
    assert row["difference"] == pytest.approx(0.5)
    assert 0 < row["difference_low"] < 0.5 < row["difference_high"]
    assert row["p_value"] < 0.001
    assert row["n_items"] == 40


def test_order_of_items_and_tasks_does_not_decide():
    """Another order draws other items: ends move by the noise of resampling, values not at all."""
    order = np.random.default_rng(3).permutation(40)
    rows = [
        by_name(compared([task]))["task"]
        for task in (
            paired(RIGHT, HALF),
            paired(np.array(RIGHT)[order], np.array(HALF)[order]),
        )
    ]
    assert rows[0]["difference"] == rows[1]["difference"]
    for end in ("difference_low", "difference_high", "kept_low", "kept_high"):
        assert rows[0][end] == pytest.approx(rows[1][end], abs=0.06)


@pytest.mark.parametrize("changed", [0.3, 0.06], ids=["many change", "few change"])
def test_intervals_hold_the_truth_as_often_as_they_say(changed, monkeypatch):
    """Simulated models of 48 items: 95 % at least, within two standard errors of simulation."""
    monkeypatch.setattr(resampling, "RESAMPLES", 599)
    rng, held = np.random.default_rng(0), []
    for simulation in range(500):
        dense = rng.random(48) < 0.7
        variant = np.where(rng.random(48) < changed, rng.random(48) < 0.3, dense)
        low, high = resampling.difference_interval([paired(dense, variant)], simulation)
        held.append(low <= changed * (0.3 - 0.7) <= high)
    assert np.mean(held) > 0.93


def test_no_item_that_got_worse_is_no_proof_that_none_does():
    """One of 40 got better, none worse: up to 9 % may get worse, whatever a bootstrap draws."""
    row = by_name(compared([paired(RIGHT, [1] * 31 + [0] * 9)]))["task"]
    assert row["difference"] == pytest.approx(1 / 40)
    assert row["difference_low"] <= 1 / 40 - (1 - 0.025 ** (1 / 40))


def test_shuffled_labels_are_rarely_called_different(monkeypatch):
    """Dense and variant exchanged at random: p falls below 0.05 in at most 5 % of the cases."""
    monkeypatch.setattr(resampling, "RESAMPLES", 999)
    rng, below = np.random.default_rng(1), []
    for simulation in range(400):
        pair = rng.random((2, 32)) < 0.5
        task = paired(*pair)
        below.append(resampling.sign_flip_p_value([task], simulation) < 0.05)
    assert np.mean(below) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_flips_are_counted_in_both_directions_and_tested():
    """Of ten flips nine are to the worse: twice the binomial tail, 22 / 1024."""
    task = paired([1] * 12 + [0] * 8, [0] * 9 + [1] * 4 + [0] * 7)
    row = by_name(compared([task]))["task"]
    assert (row["to_wrong"], row["to_right"]) == (9, 1)
    assert row["mcnemar_p"] == pytest.approx(2 * 11 / 2**10)


def test_without_flips_the_test_finds_nothing():
    assert by_name(compared([paired(RIGHT, RIGHT)]))["task"]["mcnemar_p"] == 1


def test_graded_outcomes_flip_at_one_half_and_are_not_tested():
    row = by_name(compared([paired([0.9, 0.6, 0.5, 0.4, 0.0], [0.45, 0.6, 0.2, 0.7, 0.1])]))["task"]
    assert (row["to_wrong"], row["to_right"], row["mcnemar_p"]) == (2, 1, None)
    assert row["difference"] == pytest.approx((2.05 - 2.4) / 5)
    assert row["difference_low"] < (2.05 - 2.4) / 5 < row["difference_high"]


def test_flips_of_a_family_are_summed_and_not_tested():
    tasks = [paired([1, 1, 0], [0, 1, 1], "a"), paired([1, 1], [0, 0], "b")]
    row = by_name(compared(tasks))["non_generative"]
    assert (row["to_wrong"], row["to_right"], row["mcnemar_p"]) == (3, 1, None)
    assert (row["n_tasks"], row["n_items"]) == (2, 5)


def test_an_additional_metric_is_no_part_of_the_family():
    graded = PairedTask(
        "task", "non_generative", 0.25, np.ones(4), np.zeros(4), metric="b", is_headline=False
    )
    rows = compared([paired(RIGHT, RIGHT), graded]).to_pylist()
    (family,) = [row for row in rows if row["scope"] == "family"]
    assert (family["n_tasks"], family["difference"]) == (1, 0)
    assert [row["scope"] for row in rows] == ["task", "task", "family"]


def test_formats_are_contrasted_with_generation():
    tasks = [
        paired(RIGHT, RIGHT, "squad", "retrieval"),
        paired(RIGHT, HALF, "squad", "multiple_choice"),
        paired(RIGHT, HALF, "squad", "generation"),
    ]
    rows = by_name(compared(tasks))
    assert rows["retrieval minus generation"]["difference"] == pytest.approx(0.75)
    assert rows["multiple_choice minus generation"]["difference"] == pytest.approx(0)


def test_the_interval_of_a_score_is_wilsons():
    """Wilson's formula for 30 of 40, and an end that is not 0 for none of 40."""
    z, n, p = stats.norm.ppf(0.975), 40, 0.75
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    row = by_name(compared([paired(RIGHT, [0] * 40)]))["task"]
    ends = (row["dense_score_low"], row["dense_score_high"])
    assert ends == pytest.approx((middle - reach, middle + reach))
    assert row["score_low"] == 0
    assert 0.05 < row["score_high"] < 0.12


def test_a_family_that_scores_nothing_may_still_score_something():
    """None of 20 items: a bootstrap draws zeros alone, and up to 17 % may be right (exact)."""
    tasks = [paired([1] * 10, [0] * 10, name) for name in "ab"]
    row = by_name(compared(tasks))["non_generative"]
    assert (row["score"], row["score_low"]) == (0, 0)
    assert row["score_high"] == pytest.approx(1 - 0.025 ** (1 / 20))


def test_intervals_of_a_proportion_hold_the_truth_as_often_as_they_say():
    """Exactly, by the binomial law of 60 items: 95 % within a point, on average over the truth."""
    ends = [
        resampling.score_interval([paired([0] * 60, [1] * k + [0] * (60 - k))], "variant", 0)
        for k in range(61)
    ]
    coverage = [
        sum(
            stats.binom.pmf(k, 60, truth)
            for k, (low, high) in enumerate(ends)
            if low <= truth <= high
        )
        for truth in np.linspace(0.05, 0.95, 181)
    ]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.01)


def test_intervals_of_a_family_hold_the_truth_as_often_as_they_say(monkeypatch):
    """Simulated tasks of 60 items: 95 % within 2.5 points, of which 2 are noise of simulation."""
    monkeypatch.setattr(resampling, "RESAMPLES", 599)
    rng, held = np.random.default_rng(4), []
    for simulation in range(500):
        tasks = [
            paired([0] * 60, rng.random(60) < 0.7),
            paired([0] * 60, rng.beta(2, 3, 60), "graded"),
        ]
        low, high = resampling.score_interval(tasks, "variant", simulation)
        held.append(low <= (0.7 + 0.4) / 2 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.025)


def test_intervals_of_kept_shares_hold_the_truth_as_often_as_they_say(monkeypatch):
    """Dense 0.8 and the variant 0.5 right of 100 items, chance a quarter: 0.25 / 0.55 is kept."""
    monkeypatch.setattr(resampling, "RESAMPLES", 599)
    rng, held = np.random.default_rng(5), []
    for simulation in range(400):
        task = paired(rng.random(100) < 0.8, rng.random(100) < 0.5)
        low, high, _ = resampling.interval(
            lambda drawn, task=task: resampling.kept([task], drawn), [task], simulation
        )
        held.append(low <= 0.25 / 0.55 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)

"""Differences of scores: values by hand, coverage of intervals by simulation, refusals."""

import numpy as np
import pyarrow as pa
import pytest

from prunescope import finite
from prunescope.inference import score_differences
from prunescope.inference.score_differences import PairedTask
from prunescope.progress import JobError


def paired(dense, variant, name="task", family="non_generative", chance=0.25):
    return PairedTask(name, family, chance, np.array(dense, float), np.array(variant, float))


def by_name(rows):
    return {row["name"]: row for row in rows.to_pylist()}


RIGHT = [1] * 30 + [0] * 10
HALF = [1] * 15 + [0] * 25


def test_values_are_those_by_hand():
    """Dense has 30 of 40 right, the variant 15: above a chance of a quarter, 20 and 5."""
    row = by_name(score_differences.differences([paired(RIGHT, HALF)], seed=0))["task"]
    assert row["n_items"] == 40
    assert (row["dense_score"], row["score"], row["chance"]) == (0.75, 0.375, 0.25)
    assert row["difference"] == -0.375
    assert row["kept"] == pytest.approx(0.25)
    assert row["kept_low"] < 0.25 < row["kept_high"]
    assert row["difference_low"] < -0.375 < row["difference_high"] < 0
    assert row["p_value"] < 0.001  # 15 changes, all to the worse: 2 / 2^15


def test_an_exact_p_value_of_few_changes():
    """Three changes, all to the worse: 2 of the 2^3 exchanges are as far from zero."""
    row = by_name(score_differences.differences([paired([1] * 8, [1] * 5 + [0] * 3)], 0))["task"]
    assert row["p_value"] == pytest.approx(2 / 2**3)


@pytest.mark.parametrize("n_changed", range(5))
def test_few_changes_or_none_have_a_p_value_and_an_interval(n_changed):
    """All to the worse: both exchanges of all of them are as far from zero, 2 of 2^n."""
    variant = [0] * n_changed + [1] * (20 - n_changed)
    row = by_name(score_differences.differences([paired([1] * 20, variant)], seed=0))["task"]
    assert row["p_value"] == pytest.approx(min(1, 2 / 2**n_changed))
    assert row["difference_low"] <= -n_changed / 20 <= row["difference_high"]
    assert row["difference_low"] < row["difference_high"]


def test_no_change_among_few_items_is_no_proof_of_none():
    """0 of 10: up to 31 % of all items may change (exact binomial, 97.5 %)."""
    row = by_name(score_differences.differences([paired(RIGHT[25:35], RIGHT[25:35])], 0))["task"]
    assert (row["difference"], row["p_value"]) == (0, 1)
    assert row["difference_high"] == -row["difference_low"] == pytest.approx(1 - 0.025**0.1)


def test_shares_of_a_guessing_dense_model_are_not_told():
    quarter = [1] * 10 + [0] * 30
    row = by_name(score_differences.differences([paired(quarter, HALF)], seed=0))["task"]
    assert row["dense_margin_low"] < 0
    assert row["kept"] is None


def test_tasks_of_a_family_weigh_the_same_whatever_their_size():
    tasks = [paired(RIGHT, RIGHT, "long"), paired([1] * 8, [0] * 8, "short")]
    row = by_name(score_differences.differences(tasks, seed=0))["non_generative"]
    assert row["difference"] == pytest.approx(-0.5)
    assert row["n_items"] == 48


def test_the_contrast_is_of_shares():
    """Choices keep everything, generation keeps half: the gap is one half."""
    written = paired([1] * 40, [1] * 20 + [0] * 20, "write", "generative", 0.0)
    row = by_name(score_differences.differences([paired(RIGHT, RIGHT), written], seed=0))[
        "non_generative minus generative"
    ]
    assert row["difference"] == pytest.approx(0.5)
    assert 0 < row["difference_low"] < 0.5 < row["difference_high"]
    assert row["p_value"] < 0.001
    assert row["n_items"] == 40


def test_order_of_items_and_tasks_does_not_decide():
    """Another order draws other items: ends move by the noise of resampling, values not at all."""
    order = np.random.default_rng(3).permutation(40)
    rows = [
        by_name(score_differences.differences([task], seed=0))["task"]
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
    monkeypatch.setattr(score_differences, "RESAMPLES", 599)
    rng, held = np.random.default_rng(0), []
    for simulation in range(500):
        dense = rng.random(48) < 0.7
        variant = np.where(rng.random(48) < changed, rng.random(48) < 0.3, dense)
        low, high = score_differences.difference_interval([paired(dense, variant)], simulation)
        held.append(low <= changed * (0.3 - 0.7) <= high)
    assert np.mean(held) > 0.93


def test_no_item_that_got_worse_is_no_proof_that_none_does():
    """One of 40 got better, none worse: up to 9 % may get worse, whatever a bootstrap draws."""
    row = by_name(score_differences.differences([paired(RIGHT, [1] * 31 + [0] * 9)], 0))["task"]
    assert row["difference"] == pytest.approx(1 / 40)
    assert row["difference_low"] <= 1 / 40 - (1 - 0.025 ** (1 / 40))


def test_shuffled_labels_are_rarely_called_different(monkeypatch):
    """Dense and variant exchanged at random: p falls below 0.05 in at most 5 % of the cases."""
    monkeypatch.setattr(score_differences, "RESAMPLES", 999)
    rng, below = np.random.default_rng(1), []
    for simulation in range(400):
        pair = rng.random((2, 32)) < 0.5
        task = paired(*pair)
        below.append(score_differences.sign_flip_p_value([task], simulation) < 0.05)
    assert np.mean(below) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def scores(**changed):
    row = {"task": "t", "metric": "acc", "filter": "none", "headline": True, "family": "generative"}
    return pa.Table.from_pylist([row | {"higher_is_better": True, "score": 0.5} | changed])


def samples(outcomes, chance=0.25):
    return pa.Table.from_pylist(
        [
            {"task": "t", "subtask": "t", "item": item, "metric": "acc", "filter": "none"}
            | {"outcome": float(outcome), "chance": chance, "doc_hash": str(item)}
            for item, outcome in enumerate(outcomes)
        ]
    )


def test_items_are_paired_by_themselves():
    """Rows in another order are the same items."""
    variant = samples([0, 1, 1, 0])
    variant = variant.take([2, 0, 3, 1])
    (task,) = score_differences.paired_tasks(scores(), samples([1, 1, 0, 0]), variant)
    assert task.dense.tolist() == [1, 1, 0, 0]
    assert task.variant.tolist() == [0, 1, 1, 0]


def test_other_items_are_refused():
    with pytest.raises(JobError, match="not the same"):
        score_differences.paired_tasks(scores(), samples([1, 1, 0, 0]), samples([1, 0]))


@pytest.mark.parametrize(
    ("changed", "chance"),
    [
        ({"headline": False}, 0.25),
        ({"higher_is_better": False}, 0.25),
        ({}, None),
        ({"score": 0.7}, 0.25),
    ],
    ids=["another metric", "less is better", "no chance", "no mean over items"],
)
def test_what_is_no_mean_over_items_is_left_out(changed, chance):
    rows = samples([1, 1, 0, 0], chance)
    assert score_differences.paired_tasks(scores(**changed), rows, rows) == []


def test_a_single_item_is_no_sample():
    """No interval exists of one item: the task is left out, and others are compared."""
    one = samples([1])
    assert score_differences.paired_tasks(scores(score=1.0), one, one) == []


def test_outcomes_beyond_a_share_are_left_out():
    """Limits of unseen changes hold for outcomes from 0 to 1, not for points of 100."""
    rows = samples([100, 0])
    assert score_differences.paired_tasks(scores(score=50.0), rows, rows) == []


def test_an_outcome_that_is_no_number_is_an_error():
    with pytest.raises(finite.NotFinite, match="t: outcomes of items"):
        score_differences.paired_tasks(scores(), samples([1, 0]), samples([1, float("nan")]))

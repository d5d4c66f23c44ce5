"""Rank correlations of predictors and losses."""

import itertools

import numpy as np
import pytest

from prunescope.inference import correlations, evidence


def pairs(sizes, lost, family="generative"):
    return [
        {"predictor": "theorem_3", "family": family, "size": size, "lost": each}
        for size, each in zip(sizes, lost, strict=True)
    ]


def test_ranks_in_part_correlate_in_part():
    """Spearman's formula for ranks without ties: 1 - 6 Σ d² / n (n² - 1)."""
    (row,) = correlations.of_losses(
        pairs([5.0, 1.0, 4.0, 6.0, 2.0, 3.0], [0.1, 0.3, 0.2, 0.5, 0.7, 0.6])
    ).to_pylist()
    squares = sum(d**2 for d in (1 - 5, 3 - 1, 2 - 4, 4 - 6, 6 - 2, 5 - 3))
    assert row["correlation"] == pytest.approx(1 - 6 * squares / (6 * 35))
    assert row["n_variants"] == 6
    assert row["low"] < row["correlation"] < row["high"]


def test_one_order_of_six_has_the_p_value_of_a_permutation():
    """Two of the 6! orders are as far from zero."""
    rows = correlations.of_losses(pairs([1, 2, 3, 4, 5, 6], [1, 4, 9, 16, 25, 36])).to_pylist()
    assert rows[0]["correlation"] == pytest.approx(1)
    assert rows[0]["p_value"] == pytest.approx(2 / 720)


def test_losses_that_are_not_known_do_not_count():
    """Dense may guess: no variant has a loss, and there is no correlation."""
    (row,) = correlations.of_losses(pairs([1.0, 2.0, 3.0], [None] * 3)).to_pylist()
    assert (row["n_variants"], row["correlation"], row["p_value"]) == (0, None, None)


def test_regret_is_the_mean_over_all_choices_between_two():
    sizes, lost = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.5, 0.2, 0.9])
    pairs = list(itertools.combinations(range(4), 2))
    chosen = [min(pair, key=lambda index: sizes[index]) for pair in pairs]
    better = [min(lost[list(pair)]) for pair in pairs]
    found = correlations.choices(sizes, lost)
    assert found.regret == pytest.approx(np.mean(lost[chosen] - better))
    assert found.regret == pytest.approx(0.3 / 6)  # only 0.5 instead of 0.2 is wrong
    spread = [abs(lost[i] - lost[j]) for i, j in pairs]
    assert found.coin_regret == pytest.approx(np.mean(spread) / 2)


def test_regret_of_the_best_and_worst_order_and_of_no_order():
    """Always better costs nothing, always worse twice a coin, and equal predictors as a coin."""
    lost = np.array([0.1, 0.2, 0.4, 0.8, 0.85])
    best, worst, none = (correlations.choices(each, lost) for each in (lost, -lost, 0 * lost))
    assert best.regret == 0
    assert worst.regret == pytest.approx(2 * worst.coin_regret)
    assert none.regret == pytest.approx(none.coin_regret)
    assert best.coin_regret == worst.coin_regret == none.coin_regret > 0


def test_equal_losses_leave_nothing_to_choose():
    found = correlations.choices(np.array([1.0, 2.0, 3.0]), np.full(3, 0.4))
    assert found == (0, 0, None, None)


def test_the_interval_tells_order_from_chance(monkeypatch):
    """Of 40 studies without any order, the 95 % interval holds that of a coin in most."""
    monkeypatch.setattr(evidence, "RESAMPLES", 199)
    rng = np.random.default_rng(1)
    holds = []
    for _ in range(40):
        lost = rng.uniform(size=12)
        ordered = correlations.choices(lost + 0.1 * rng.normal(size=12), lost)
        chance = correlations.choices(rng.uniform(size=12), lost)
        assert ordered.ratio_low <= ordered.regret / ordered.coin_regret < 1
        holds.append(chance.ratio_low < 1 < chance.ratio_high)
    assert sum(holds) >= 33

"""Rank correlations of predictors and losses."""

import pytest

from prunescope.inference import correlations


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

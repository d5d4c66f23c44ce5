"""Means over prompts: values by hand, ends by Student's t, and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from prunescope.inference import prompt_means


def rows(shares, term="diverged_tokens", sampled=0.0):
    key = {"sampling_temperature": sampled, "term": term, "history": "free_running"}
    return [
        {**key, "prompt": f"p{place}", "share": share, "norm": 2.0, "kl": 10 * share}
        for place, share in enumerate(shares)
    ]


def test_means_and_ends_are_those_of_students_t():
    (row,) = prompt_means.effects(rows([0.2, 0.4, 0.9])).to_pylist()
    reach = stats.t.ppf(0.975, 2) * np.std([0.2, 0.4, 0.9], ddof=1) / np.sqrt(3)
    assert (row["n_prompts"], row["share"], row["norm"]) == (3, pytest.approx(0.5), 2)
    assert (row["share_low"], row["share_high"]) == pytest.approx((0.5 - reach, 0.5 + reach))
    assert (row["kl"], row["kl_high"]) == pytest.approx((5, 5 + 10 * reach))


@pytest.mark.parametrize("shares", [[0.3], [0.3, 0.3]], ids=["one prompt", "no variance"])
def test_without_variance_there_is_no_interval(shares):
    (row,) = prompt_means.effects(rows(shares)).to_pylist()
    assert (row["share"], row["share_low"], row["share_high"]) == (pytest.approx(0.3), None, None)


def test_terms_and_temperatures_are_told_apart():
    both = [*rows([0.1, 0.2]), *rows([0.5, 0.6], sampled=0.7), *rows([0.8, 0.9], "parameters")]
    found = prompt_means.effects(both).to_pylist()
    assert [(row["term"], row["sampling_temperature"]) for row in found] == [
        ("diverged_tokens", 0.0),
        ("parameters", 0.0),
        ("diverged_tokens", 0.7),
    ]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Twelve prompts with shares from a beta law: 95 % within two points, noise of simulation."""
    rng = np.random.default_rng(2)
    held = []
    for _ in range(2000):
        (row,) = prompt_means.effects(rows(rng.beta(2, 3, 12))).to_pylist()
        held.append(row["share_low"] <= 0.4 <= row["share_high"])
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)

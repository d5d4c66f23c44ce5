"""What the units of a sample say about a claim's statistic: a value, its 95 % interval, a p-value.

Units are what would be drawn anew if the study were repeated: prompts, not their steps; items of a
task; linears of a model. The median of units is used where the paper speaks of most points, because
its interval needs no assumption about how values are distributed.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prunescope import finite
from prunescope.inference import seeds
from prunescope.inference.seeds import CONFIDENCE, Interval

RESAMPLES = 1999
"""Resamples of the bootstrap and of the permutation test of a rank correlation."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """A statistic of n units, its interval, and the two-sided p-value of a threshold.

    An end is NaN if there are too few units for an interval.
    """

    n: int
    value: float
    low: float
    high: float
    p_value: float


def median(values: Floats, threshold: float) -> Evidence:
    """The median, by the exact test and interval of a quantile (order statistics, binomial)."""
    tested = stats.quantile_test(values, q=threshold, p=0.5)
    ends = tested.confidence_interval(CONFIDENCE)
    return Evidence(len(values), float(np.median(values)), ends.low, ends.high, tested.pvalue)


def share(values: Floats, threshold: float) -> Evidence:
    """The share of units whose value is 1, by the exact binomial test and interval."""
    tested = stats.binomtest(int(values.sum()), len(values), threshold)
    ends = tested.proportion_ci(CONFIDENCE, method="exact")
    return Evidence(len(values), tested.statistic, ends.low, ends.high, tested.pvalue)


def mean(values: Floats, threshold: float) -> Evidence:
    """The mean, by Student's t."""
    if np.ptp(values) == 0:  # no variance to judge by
        return Evidence(len(values), float(values[0]), np.nan, np.nan, 1.0)
    tested = stats.ttest_1samp(values, threshold)
    ends = tested.confidence_interval(CONFIDENCE)
    return Evidence(len(values), float(values.mean()), ends.low, ends.high, float(tested.pvalue))


def rank_correlation(values: Floats, others: Floats) -> Evidence:
    """Spearman's rank correlation of pairs, by a permutation test and a BCa bootstrap interval."""

    def correlation(xs: Floats, ys: Floats, axis: int) -> Floats:
        ranks = (stats.rankdata(each, axis=axis) for each in (xs, ys))
        return np.asarray(stats.pearsonr(*ranks, axis=axis).statistic)

    if min(np.ptp(values), np.ptp(others)) == 0:
        return Evidence(len(values), np.nan, np.nan, np.nan, 1.0)
    tested = stats.permutation_test(
        (values,),
        lambda xs, axis: correlation(xs, np.broadcast_to(others, xs.shape), axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # then there is no interval
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        ends = stats.bootstrap(
            (values, others),
            correlation,
            n_resamples=RESAMPLES,
            paired=True,
            vectorized=True,
            confidence_level=CONFIDENCE,
            rng=np.random.default_rng(0),
        ).confidence_interval
    # Pairs in perfect order stay so in every sample: they say nothing of the interval.
    low, high = (np.nan, np.nan) if np.isclose(*ends) else ends
    return Evidence(len(values), float(tested.statistic), low, high, float(tested.pvalue))


_TESTS: Mapping[str, Callable[[Floats, float], Evidence]] = {
    "median": median,
    "share": share,
    "mean": mean,
}


_LIMITS: Mapping[str, tuple[float, float]] = {"share": (0, 1), "rank_correlation": (-1, 1)}
"""The smallest and the largest value that a statistic can have."""


def of_units(
    statistic: str, rows: Sequence[Mapping[str, Any]], threshold: float
) -> Evidence | None:
    """Evidence from the rows of one subject, or None if no row has a value.

    Parameters
    ----------
    statistic : `median`, `share`, `mean` or `rank_correlation` of the units, or `given`.
    rows : one per unit, with `measured` and, for a rank correlation, `beside`; one row with
        `n`, `measured`, `low`, `high` and `p_value` if the evidence is given. If there are several
        seeds, each row has its `seed`, and units are those of each seed.
    threshold : the value that is tested; a rank correlation is tested against 0.
    """
    by_seed: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["measured"] is not None:
            by_seed.setdefault(row.get("seed"), []).append(row)
    results = [_of_one_seed(statistic, each, threshold) for each in by_seed.values()]
    if not results:
        return None
    tested = 0 if statistic == "rank_correlation" else threshold
    return across_seeds(results, tested, _LIMITS.get(statistic, (-np.inf, np.inf)))


def across_seeds(
    results: Sequence[Evidence], threshold: float, limits: tuple[float, float] = (-np.inf, np.inf)
) -> Evidence:
    """The mean over seeds; its interval and p-value include variation between them (`seeds`).

    Parameters
    ----------
    results : the evidence of each seed.
    threshold : the value that is tested.
    limits : the smallest and the largest value that the statistic can have.
    """
    if all(result == results[0] for result in results):
        return results[0]
    intervals = [Interval(result.value, result.low, result.high) for result in results]
    value, low, high = seeds.across(intervals)
    p_value = seeds.p_value(intervals, threshold)
    return Evidence(
        n=min(result.n for result in results),
        value=value,
        low=max(low, limits[0]),
        high=min(high, limits[1]),
        p_value=p_value if np.isfinite(p_value) else 1.0,
    )


def _of_one_seed(statistic: str, rows: Sequence[Mapping[str, Any]], threshold: float) -> Evidence:
    if statistic == "given":
        (row,) = rows
        return Evidence(row["n"], row["measured"], row["low"], row["high"], row["p_value"])
    values = _finite([row["measured"] for row in rows])
    if statistic == "rank_correlation":
        return rank_correlation(values, _finite([row["beside"] for row in rows]))
    return _TESTS[statistic](values, threshold)


def _finite(values: Sequence[float]) -> Floats:
    """The values as an array. Raises NotFinite if one is NaN or infinite: it has no rank."""
    remedy = "Run `make verify`: the tables behind it may be damaged."
    found = np.array(values, float)
    finite.checked(found, "the values of a claim's units", remedy)
    return found

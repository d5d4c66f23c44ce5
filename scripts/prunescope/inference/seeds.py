"""Intervals that include how a result varies between seeds, not only between items or prompts.

Seeds and items are crossed: a study repeated with other seeds asks the same items. The mean over
seeds errs for two reasons, and each has an interval of its own: items, by the interval that the
result of each seed has, and seeds, by Student's t over the results of the seeds. Their reaches are
added in quadrature (Zou and Donner 2008, "Construction of confidence limits about effect
measures"). With three seeds, the quantile of the second is 4.3 in place of 1.96, because their
variance is estimated from three values; the interval is wide rather than too short.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
"""Level of every interval."""


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval, which may be NaN."""

    value: float
    low: float
    high: float


def across(intervals: Sequence[Interval]) -> Interval:
    """The mean over seeds, with a 95 % interval that includes variation between seeds.

    Parameters
    ----------
    intervals : the result of each seed; its ends tell how it varies between items.
    """
    below, above, of_seeds, value = _reaches(intervals)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(intervals) - 1))
    low, high = (math.hypot(reach, quantile * of_seeds) for reach in (below, above))
    return Interval(value, value - low, value + high)


def p_value(intervals: Sequence[Interval], threshold: float) -> float:
    """Two-sided p-value of a threshold: 1 minus the level at which an interval just reaches it.

    It is below 0.05 just where the interval of `across` misses the threshold, and NaN where the
    results of the seeds have no interval.
    """
    below, above, of_seeds, value = _reaches(intervals)
    distance = abs(value - threshold)
    of_items = (below if value > threshold else above) / float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    if math.isnan(of_items):
        return math.nan
    if distance == 0 or of_items == of_seeds == 0:
        return float(distance == 0)

    def excess(p: float) -> float:
        """By how much the interval of level 1 - p reaches beyond the threshold."""
        of_t = of_seeds * float(stats.t.isf(p / 2, len(intervals) - 1))
        return math.hypot(of_items * float(stats.norm.isf(p / 2)), of_t) - distance

    return float(optimize.brentq(excess, 1e-300, 1.0)) if excess(1e-300) > 0 else 0.0


def _reaches(intervals: Sequence[Interval]) -> tuple[float, float, float, float]:
    """Reach for items below and above the value, standard error for seeds, and the mean value.

    Parameters
    ----------
    intervals : the result of each of at least two seeds.
    """
    values, lows, highs = (np.array(each, float) for each in zip(*intervals, strict=True))
    of_seeds = float(stats.sem(values))
    below, above = float((values - lows).mean()), float((highs - values).mean())
    return below, above, of_seeds, float(values.mean())

"""Intervals and p-values of means over tasks, of which the items are a sample.

Resampling is hierarchical: items are drawn within each task, and tasks are averaged. A draw takes
an item's outcome from dense and from the variant, so that pairs stay pairs.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prunescope.inference.paired_tasks import Floats, PairedTask
from prunescope.inference.seeds import CONFIDENCE

RESAMPLES = 4999
"""Resamples of a bootstrap and of a permutation test."""

Places = Sequence[NDArray[np.int_]]
"""Indices of the drawn items, one array (..., items) per task."""


def interval(
    statistic: Callable[[Places], Floats], tasks: Sequence[PairedTask], seed: int
) -> tuple[float, float, Floats]:
    """Bootstrap interval (BCa, Efron 1987) of a statistic of the tasks, items drawn within each.

    Parameters
    ----------
    statistic : from the places of the drawn items, one array (..., items) per task, to (...,).
    tasks : the tasks.
    seed : of the draws.

    Returns
    -------
    Both ends, and the statistic of every resample. Where BCa is undefined, because leaving out an
    item changes nothing, the ends are those of the percentile method.
    """

    def of_drawn(*drawn: NDArray[np.int_], axis: int) -> Floats:
        return statistic([np.moveaxis(each, axis, -1) for each in drawn])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # 0/0, of which BCa then warns
        found = stats.bootstrap(
            as_they_are(tasks),
            of_drawn,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
    ends = np.array(found.confidence_interval)
    if not np.isfinite(ends).all():
        outside = (1 - CONFIDENCE) / 2
        ends = np.quantile(found.bootstrap_distribution, [outside, 1 - outside])
    return float(ends[0]), float(ends[1]), found.bootstrap_distribution


def score_interval(tasks: Sequence[PairedTask], side: str, seed: int) -> tuple[float, float]:
    """Interval of the mean over tasks of the score of one model.

    Wilson's (1927) interval of a proportion for one task of right and wrong answers, otherwise a
    bootstrap. A bootstrap of equal outcomes draws nothing else; then the ends are at least as far
    out as other outcomes, of which none was seen, may move the mean (`unseen_share`).

    Parameters
    ----------
    tasks : one task, or those of a family.
    side : `dense` or `variant`, the model.
    seed : of the draws.
    """
    outcomes: list[Floats] = [getattr(task, side) for task in tasks]
    if len(tasks) == 1 and np.isin(outcomes[0], (0, 1)).all():
        right = stats.binomtest(int(outcomes[0].sum()), len(outcomes[0]))
        ends = right.proportion_ci(CONFIDENCE, method="wilson")
        return float(ends.low), float(ends.high)
    values = np.concatenate(outcomes)
    if np.ptp(values) == 0:
        share, value = unseen_share(len(values)), float(values[0])
        return (1 - share) * value, value + share * (1 - value)

    def mean_score(drawn: Places) -> Floats:
        scores = [each[places].mean(axis=-1) for each, places in zip(outcomes, drawn, strict=True)]
        return np.asarray(np.mean(scores, axis=0))

    low, high, _ = interval(mean_score, tasks, seed)
    return low, high


def difference_interval(tasks: Sequence[PairedTask], seed: int) -> tuple[float, float]:
    """Interval of the mean over tasks of variant minus dense.

    Where no item of the sample became worse, or none better, a bootstrap never draws one that did.
    Then that end is at least as far out as the share of items that may change in this direction,
    none of which was seen (`unseen_share`).
    """
    low, high, _ = interval(lambda drawn: gain(tasks, drawn), tasks, seed)
    gains = np.concatenate([task.variant - task.dense for task in tasks])
    unseen, difference = unseen_share(len(gains)), float(gain(tasks, as_they_are(tasks)))
    if not (gains < 0).any():
        low = min(low, difference - unseen)
    if not (gains > 0).any():
        high = max(high, difference + unseen)
    return low, high


def unseen_share(n_items: int) -> float:
    """Exact upper end (Clopper and Pearson, 1934) of a share of items of which none was seen."""
    return float(stats.binomtest(0, n_items).proportion_ci(CONFIDENCE, method="exact").high)


def sign_flip_p_value(tasks: Sequence[PairedTask], seed: int) -> float:
    """Two-sided p-value of no difference: dense and variant exchanged item by item, at random.

    Exact where the items are few enough to go through every exchange.
    """
    gains = [(task.variant - task.dense) / (len(task.dense) * len(tasks)) for task in tasks]
    gains_that_count = np.concatenate(gains)
    gains_that_count = gains_that_count[gains_that_count != 0]
    if len(gains_that_count) < 2:
        return 1.0  # one change is as far from zero in either direction
    found = stats.permutation_test(
        (gains_that_count,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def mcnemar_p_value(to_wrong: int, to_right: int) -> float:
    """McNemar's test (1947), exact and two-sided: flips go either way alike. 1 without flips."""
    if to_wrong + to_right == 0:
        return 1.0
    return float(stats.binomtest(to_wrong, to_wrong + to_right).pvalue)


def dense_margin_low(tasks: Sequence[PairedTask]) -> float | None:
    """Lower end of the interval of dense's mean score minus chance, by Student's t over items.

    None with fewer than two items. Not above 0: dense itself may be guessing, and a share of its
    score says nothing.
    """
    above = [(task.dense - task.chance) / len(tasks) for task in tasks]
    if any(len(each) < 2 for each in above):
        return None
    error = float(np.sqrt(sum(each.var(ddof=1) / len(each) for each in above)))
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, sum(len(each) for each in above) - len(above))
    return float(sum(each.mean() for each in above) - quantile * error)


def as_they_are(tasks: Sequence[PairedTask]) -> list[NDArray[np.int_]]:
    """The places of all items of each task, each once."""
    return [np.arange(len(task.dense)) for task in tasks]


def gain(tasks: Sequence[PairedTask], drawn: Places) -> Floats:
    """Mean over tasks of variant minus dense, (...,) of places (..., items) per task."""
    gains = [
        (task.variant - task.dense)[places].mean(axis=-1)
        for task, places in zip(tasks, drawn, strict=True)
    ]
    return np.asarray(np.mean(gains, axis=0))


def kept(tasks: Sequence[PairedTask], drawn: Places) -> Floats:
    """What the variant scores above chance, summed over tasks, over the same of dense."""
    above: list[Floats] = []
    for of_dense in (False, True):
        outcomes = [task.dense if of_dense else task.variant for task in tasks]
        each = [
            outcome[places].mean(axis=-1) - task.chance
            for outcome, places, task in zip(outcomes, drawn, tasks, strict=True)
        ]
        above.append(np.sum(each, axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above[0] / above[1])

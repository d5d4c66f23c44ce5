"""How far a variant's task scores differ from dense's, with intervals over items.

Dense and variant answer the same items, so they are compared item by item. Scores are also read as
shares of what dense scores above chance: a model that guesses keeps nothing, though a quarter of
its answers to four options are right. Resampling is hierarchical: items are drawn within tasks, and
tasks of a family are averaged.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from prunescope import finite
from prunescope.progress import LOG, JobError
from prunescope.tables.schemas import TABLES

Floats = NDArray[np.float64]

FAMILIES = ("non_generative", "generative")
"""Families whose shares are contrasted, the first minus the second."""

CONFIDENCE = 0.95
"""Level of every interval."""

RESAMPLES = 4999
"""Resamples of a bootstrap and of a permutation test."""


@dataclass(frozen=True)
class PairedTask:
    """Outcomes of dense and a variant on the same items of one task.

    Attributes
    ----------
    name, family : as in config.
    chance : expected score of a guess, a mean over items; 0 for a text that is written.
    dense, variant : (items,), the outcome of each item, 0 to 1.
    """

    name: str
    family: str
    chance: float
    dense: Floats
    variant: Floats


def paired_tasks(
    scores: pa.Table, dense_samples: pa.Table, variant_samples: pa.Table
) -> list[PairedTask]:
    """The tasks of a suite, each item of dense paired with the same item of the variant.

    Left out, with a warning, are tasks whose headline score is not a mean of outcomes from 0 to 1
    over at least two items.

    Parameters
    ----------
    scores : dense's `task_scores`, which tell the headline metric and the family of each task.
    dense_samples, variant_samples : `task_samples` of dense and of the variant.

    Raises
    ------
    JobError
        if the two did not answer the same items.
    finite.NotFinite
        if an outcome is NaN or infinite.
    """
    tasks = []
    for score in scores.to_pylist():
        if not (score["headline"] and score["higher_is_better"]):
            continue
        dense, variant = (_headline_items(rows, score) for rows in (dense_samples, variant_samples))
        if dense.keys() != variant.keys():
            raise JobError(
                f"{score['task']}: dense answered {len(dense)} items and the variant "
                f"{len(variant)}, and they are not the same, so they cannot be compared item by "
                "item. Remove the older of the two tables and run the same command again."
            )
        outcomes = np.array(
            [[rows[item]["outcome"] for item in dense] for rows in (dense, variant)]
        )
        finite.checked(outcomes, f"{score['task']}: outcomes of items")
        chances = [row["chance"] for row in dense.values()]
        is_mean = len(dense) > 1 and np.isclose(outcomes[0].mean(), score["score"])
        if None in chances or not is_mean or outcomes.min() < 0 or outcomes.max() > 1:
            LOG.warning(
                "%s is left out: its score is not a mean of outcomes from 0 to 1 over two items or "
                "more",
                score["task"],
            )
            continue
        chance = float(np.mean(chances))
        tasks.append(PairedTask(score["task"], score["family"], chance, *outcomes))
    return tasks


def _headline_items(samples: pa.Table, score: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    """Rows of one task's headline metric by item, in an order that both models share."""
    for key in ("task", "metric", "filter"):
        samples = samples.filter(pc.field(key) == score[key])
    by_item = {(row["subtask"], row["item"], row["doc_hash"]): row for row in samples.to_pylist()}
    return dict(sorted(by_item.items()))


def differences(tasks: Sequence[PairedTask], seed: int) -> pa.Table:
    """Rows of table `score_difference`: every task, every family, and the contrast of both.

    Parameters
    ----------
    tasks : of one suite and variant.
    seed : of the resampling.
    """
    families = {name: [t for t in tasks if t.family == name] for name in FAMILIES}
    rows = [_difference("task", task.name, [task], seed) for task in tasks]
    rows += [_difference("family", name, each, seed) for name, each in families.items() if each]
    if all(families.values()):
        first, second = (families[name] for name in FAMILIES)
        rows.append(_contrast(first, second, seed))
    return pa.Table.from_pylist(rows, schema=TABLES["score_difference"].schema)


def _difference(scope: str, name: str, tasks: Sequence[PairedTask], seed: int) -> dict[str, Any]:
    """One row: the mean over tasks of variant minus dense, and the share of dense above chance."""
    low, high = difference_interval(tasks, seed)
    margin = dense_margin_low(tasks)
    row: dict[str, Any] = {
        "scope": scope,
        "name": name,
        "n_items": sum(len(task.dense) for task in tasks),
        "dense_score": float(np.mean([task.dense.mean() for task in tasks])),
        "score": float(np.mean([task.variant.mean() for task in tasks])),
        "chance": float(np.mean([task.chance for task in tasks])),
        "difference": float(_gain(tasks, _as_they_are(tasks))),
        "difference_low": low,
        "difference_high": high,
        "p_value": sign_flip_p_value(tasks, seed),
        "dense_margin_low": margin,
    }
    if margin is None or margin <= 0:
        return row
    kept_low, kept_high, _ = interval(lambda drawn: _kept(tasks, drawn), tasks, seed)
    kept = float(_kept(tasks, _as_they_are(tasks)))
    return {**row, "kept": kept, "kept_low": kept_low, "kept_high": kept_high}


def _contrast(
    first: Sequence[PairedTask], second: Sequence[PairedTask], seed: int
) -> dict[str, Any]:
    """One row: by how much the share that the first family keeps exceeds that of the second."""
    tasks, n_first = [*first, *second], len(first)

    def gap(drawn: Sequence[NDArray[np.int_]]) -> Floats:
        return _kept(first, drawn[:n_first]) - _kept(second, drawn[n_first:])

    margins = [margin for each in (first, second) if (margin := dense_margin_low(each)) is not None]
    margin = min(margins) if len(margins) == len(FAMILIES) else None
    row: dict[str, Any] = {
        "scope": "contrast",
        "name": " minus ".join(FAMILIES),
        "n_items": min(sum(len(task.dense) for task in each) for each in (first, second)),
        "dense_margin_low": margin,
    }
    if margin is None or margin <= 0:
        return row
    low, high, resampled = interval(gap, tasks, seed)
    beyond = min(float(np.mean(resampled <= 0)), float(np.mean(resampled >= 0)))
    return {
        **row,
        "difference": float(gap(_as_they_are(tasks))),
        "difference_low": low,
        "difference_high": high,
        "p_value": min(1.0, 2 * max(beyond, 1 / (RESAMPLES + 1))),
    }


def interval(
    statistic: Callable[[Sequence[NDArray[np.int_]]], Floats],
    tasks: Sequence[PairedTask],
    seed: int,
) -> tuple[float, float, Floats]:
    """Bootstrap interval (BCa, Efron 1987) of a statistic of the tasks, items drawn within each.

    Parameters
    ----------
    statistic : from the places of the drawn items, one array (..., items) per task, to (...,).
    tasks : the tasks, whose numbers of items are drawn from.
    seed : seed of the resampling.

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
            _as_they_are(tasks),
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


def difference_interval(tasks: Sequence[PairedTask], seed: int) -> tuple[float, float]:
    """Interval of the mean over tasks of variant minus dense.

    Where no item of the sample became worse, or none better, a bootstrap never draws one that did.
    Then that end is at least as far out as the exact upper end (Clopper and Pearson, 1934) of the
    share of items that change in this direction, none of which was seen.
    """
    low, high, _ = interval(lambda drawn: _gain(tasks, drawn), tasks, seed)
    gains = np.concatenate([task.variant - task.dense for task in tasks])
    unseen = stats.binomtest(0, len(gains)).proportion_ci(CONFIDENCE, method="exact").high
    difference = float(_gain(tasks, _as_they_are(tasks)))
    if not (gains < 0).any():
        low = min(low, difference - float(unseen))
    if not (gains > 0).any():
        high = max(high, difference + float(unseen))
    return low, high


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


def _as_they_are(tasks: Sequence[PairedTask]) -> list[NDArray[np.int_]]:
    """The places of all items of each task, each once."""
    return [np.arange(len(task.dense)) for task in tasks]


def _gain(tasks: Sequence[PairedTask], drawn: Sequence[NDArray[np.int_]]) -> Floats:
    """Mean over tasks of variant minus dense, (...,) of places (..., items) per task."""
    gains = [
        (task.variant - task.dense)[places].mean(axis=-1)
        for task, places in zip(tasks, drawn, strict=True)
    ]
    return np.asarray(np.mean(gains, axis=0))


def _kept(tasks: Sequence[PairedTask], drawn: Sequence[NDArray[np.int_]]) -> Floats:
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

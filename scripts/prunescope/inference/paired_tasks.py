"""Tasks whose items dense and a variant both answered: benchmark tasks, retrieval sets, formats.

Each item of dense is paired with the same item of the variant. An outcome lies between 0 and 1, and
a task's score is the mean of its outcomes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prunescope import finite
from prunescope.progress import LOG, JobError

Floats = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]

RETRIEVAL_DEPTH = {"ndcg_at_10": 10, "recall_at_100": 100}
"""Metrics of a retrieval set, and how many documents each reads; the first is its headline."""

FORMAT_METRICS = ("correct", "score")
"""Metrics of a question in a format; the first is its headline."""


@dataclass(frozen=True)
class PairedTask:
    """Outcomes of dense and a variant on the same items of one task.

    Attributes
    ----------
    name, family : as in config; of a matched format, the source and the format.
    chance : expected score of a guess, a mean over items; 0 for a text that is written.
    dense, variant : (items,), the outcome of each item, 0 to 1.
    metric : what an outcome is.
    n_shot : solved examples before each question; None where there are none by nature.
    n_cut : items of the variant that were cut to fit the model's positions.
    agreement : share of items to which the variant gives dense's answer; None without answers.
    is_headline : whether the metric stands for the task in the mean of its family.
    """

    name: str
    family: str
    chance: float
    dense: Floats
    variant: Floats
    metric: str = ""
    n_shot: int | None = None
    n_cut: int = 0
    agreement: float | None = None
    is_headline: bool = True


def of_suite(
    dense_scores: pa.Table, scores: pa.Table, dense_samples: pa.Table, samples: pa.Table
) -> list[PairedTask]:
    """The benchmark tasks of a suite, by their headline metrics.

    Left out, with a warning, are tasks whose headline score is not a mean of outcomes from 0 to 1
    over at least two items.

    Parameters
    ----------
    dense_scores, scores : `task_scores` of dense, which tell the headline metric and the family of
        each task, and of the variant, which tell how many items were cut.
    dense_samples, samples : `task_samples` of dense and of the variant.

    Raises
    ------
    JobError
        if the two did not answer the same items.
    finite.NotFinite
        if an outcome is NaN or infinite.
    """
    n_cut = {row["task"]: row["n_cut"] for row in scores.to_pylist() if row["headline"]}
    tasks = []
    for score in dense_scores.to_pylist():
        if not (score["headline"] and score["higher_is_better"]):
            continue
        dense, variant = (_headline_items(rows, score) for rows in (dense_samples, samples))
        outcomes = _outcomes(score["task"], dense, variant, "outcome")
        chances = [row["chance"] for row in dense.values()]
        is_mean = len(dense) > 1 and np.isclose(outcomes[0].mean(), score["score"])
        if None in chances or not is_mean or outcomes.min() < 0 or outcomes.max() > 1:
            LOG.warning(
                "%s is left out: its score is not a mean of outcomes from 0 to 1 over two items or "
                "more",
                score["task"],
            )
            continue
        tasks.append(
            PairedTask(
                score["task"],
                score["family"],
                float(np.mean(chances)),
                dense=outcomes[0],
                variant=outcomes[1],
                metric=score["metric"],
                n_shot=score["n_shot"],
                n_cut=n_cut.get(score["task"], 0),
                agreement=_agreement(dense, variant, "response"),
            )
        )
    return tasks


def _headline_items(samples: pa.Table, score: Mapping[str, Any]) -> dict[Any, Mapping[str, Any]]:
    """Rows of one task's headline metric by item, in an order that both models share."""
    for key in ("task", "metric", "filter"):
        samples = samples.filter(pc.field(key) == score[key])
    return _by_item(samples.to_pylist(), ("subtask", "item", "doc_hash"))


def of_retrieval(
    dense_samples: pa.Table,
    samples: pa.Table,
    chance_of: Callable[[str, str, str], float],
) -> list[PairedTask]:
    """The retrieval sets of a model, by each metric; the items are queries.

    Parameters
    ----------
    dense_samples, samples : `retrieval_samples` of dense and of the variant.
    chance_of : (retrieval set, query, metric) -> expected value of a random ranking.

    Raises
    ------
    JobError
        if the two did not answer the same queries.
    """
    of_dense, of_variant = (
        _grouped(t.to_pylist(), "retrieval_set") for t in (dense_samples, samples)
    )
    tasks = []
    for name, rows in of_dense.items():
        dense, variant = (_by_item(each, ("query",)) for each in (rows, of_variant.get(name, ())))
        for metric in RETRIEVAL_DEPTH:
            outcomes = _outcomes(name, dense, variant, metric)
            chances = [chance_of(name, query, metric) for (query,) in dense]
            tasks.append(
                PairedTask(
                    name,
                    "retrieval",
                    float(np.mean(chances)),
                    dense=outcomes[0],
                    variant=outcomes[1],
                    metric=metric,
                    n_cut=sum(row["n_cut"] > 0 for row in variant.values()),
                    is_headline=metric == next(iter(RETRIEVAL_DEPTH)),
                )
            )
    return tasks


def chance_of_ranking(grades: Iterable[int], n_documents: int, metric: str) -> float:
    """Expected value of a metric if documents are ranked at random.

    Each of the first places holds any document with equal probability. Its expected gain is the
    mean grade, and nDCG divides the sum of discounted gains by that of the best ranking, as
    trec_eval does.

    Parameters
    ----------
    grades : of the judged documents of one query; relevant if above 0.
    n_documents : number of documents that are ranked.
    metric : one of RETRIEVAL_DEPTH.
    """
    depth = RETRIEVAL_DEPTH[metric]
    gains = sorted((max(0, grade) for grade in grades), reverse=True)
    if not any(gains):
        return 0.0
    n_places = min(depth, n_documents)
    if metric == "recall_at_100":
        return n_places / n_documents
    discounts = 1 / np.log2(np.arange(depth) + 2)
    best = float(np.dot(gains[:depth], discounts[: len(gains)]))
    return float(sum(gains) / n_documents * discounts[:n_places].sum() / best)


def of_formats(dense_samples: pa.Table, samples: pa.Table) -> list[PairedTask]:
    """The sources of matched formats: each format is a family, in which each source is a task.

    Parameters
    ----------
    dense_samples, samples : `matched_samples` of dense and of the variant.

    Raises
    ------
    JobError
        if the two did not answer the same items.
    """
    key = ("format", "source")
    of_dense, of_variant = (_grouped(t.to_pylist(), *key) for t in (dense_samples, samples))
    tasks = []
    for (name_of_format, source), rows in of_dense.items():
        pair = rows, of_variant.get((name_of_format, source), ())
        for metric in FORMAT_METRICS:
            dense, variant = (
                _by_item([row for row in each if row[metric] is not None], ("item",))
                for each in pair
            )
            if not dense and not variant:  # programs that were not run
                continue
            outcomes = _outcomes(f"{source} as {name_of_format}", dense, variant, metric)
            tasks.append(
                PairedTask(
                    source,
                    name_of_format,
                    _chance_of_format(dense.values(), metric),
                    dense=outcomes[0],
                    variant=outcomes[1],
                    metric=metric,
                    agreement=_agreement(dense, variant, "text"),
                    is_headline=metric == FORMAT_METRICS[0],
                )
            )
    return tasks


def _chance_of_format(rows: Iterable[Mapping[str, Any]], metric: str) -> float:
    """Expected outcome of ranking n candidates at random: 1/n right, mean of 1/rank; else 0."""
    numbers = [row["n_candidates"] or 0 for row in rows]
    if metric == "correct":
        return float(np.mean([1 / n if n else 0.0 for n in numbers]))
    return float(np.mean([np.mean(1 / np.arange(1, n + 1)) if n else 0.0 for n in numbers]))


def _grouped(rows: Rows, *keys: str) -> dict[Any, list[Mapping[str, Any]]]:
    """Rows by the value of a column, or by the values of several."""
    grouped: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        values = tuple(row[key] for key in keys)
        grouped.setdefault(values if len(keys) > 1 else values[0], []).append(row)
    return dict(sorted(grouped.items()))


def _by_item(rows: Rows, key: Sequence[str]) -> dict[Any, Mapping[str, Any]]:
    """Rows by item, in an order that both models share."""
    return dict(sorted({tuple(row[name] for name in key): row for row in rows}.items()))


def _outcomes(
    task: str,
    dense: Mapping[Any, Mapping[str, Any]],
    variant: Mapping[Any, Mapping[str, Any]],
    column: str,
) -> Floats:
    """Outcomes (2, items) of dense and the variant. Raises JobError if their items differ."""
    if dense.keys() != variant.keys():
        raise JobError(
            f"{task}: dense answered {len(dense)} items and the variant {len(variant)}, and they "
            "are not the same, so they cannot be compared item by item. Remove the older of the "
            "two tables and run the same command again."
        )
    outcomes = np.array(
        [[rows[item][column] for item in dense] for rows in (dense, variant)], float
    )
    finite.checked(outcomes, f"{task}: outcomes of items")
    return outcomes


def _agreement(
    dense: Mapping[Any, Mapping[str, Any]], variant: Mapping[Any, Mapping[str, Any]], column: str
) -> float:
    """Share of items to which both give the same answer."""
    return float(np.mean([variant[item].get(column) == dense[item].get(column) for item in dense]))

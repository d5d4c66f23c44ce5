"""Table 1. Scores of each variant and the dense model, task by task, on the same items.

Scores are in percent, by the metric that config names for the task. Multiple-choice and generation
tasks are run on the language model; retrieval is nDCG@10 of its last hidden state, and of an
embedding model. "Chance" is the score of a guess. "Difference" is variant minus dense in points,
and "kept" the share of what dense scores above chance, both with 95 % bootstrap intervals over
items; nothing is kept where dense itself may be guessing ("–"). "To wrong" and "to right" count the
items whose outcome flipped; a graded outcome (F1, ROUGE-L, nDCG) counts as right from 0.5 on.
"McNemar p" is the exact two-sided test of
these flips, not corrected for the number of tests, and only for tasks whose outcomes are all right
or wrong. Means are over tasks.

The line above each variant shows its costs; dense and variant were timed in turn in one process.
The last column shows the scores that the paper prints, dense → variant, for its own model on whole
data sets: the tasks are the same, the items and solved examples are not. Its averages are as
printed, over its own tasks; four of the nine differ from the mean of their column by 0.1 to 0.6.

Look for variants whose generation tasks fall while multiple-choice tasks do not.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import pyarrow as pa

from prunescope.report.text_tables import Cell, Part, Table, cell

HEAD = (
    "task",
    "metric",
    "shots",
    "items",
    "chance",
    "dense",
    "variant",
    "difference",
    "kept",
    "to wrong",
    "to right",
    "McNemar p",
    "printed in the paper",
)

FAMILIES = {
    "non_generative": "multiple-choice tasks",
    "generative": "generation tasks",
    "retrieval": "retrieval sets",
}

Row = Mapping[str, Any]


def draw(rows: pa.Table) -> Table:
    """A heading per variant with its costs, a row per task and a mean per family."""
    return Table(HEAD, list(_rows(rows.to_pylist())), shown=3)


def _rows(rows: list[Row]) -> Iterator[list[Cell]]:
    for (model, variant), of_variant in groupby(rows, lambda row: (row["model"], row["variant"])):
        task_rows = list(of_variant)
        yield [[Part(f"{model}: {variant}", "strong"), Part(_cost(task_rows[0]))]]
        yield from map(_cells, task_rows)


def _cost(row: Row) -> str:
    """The costs of a variant compared with dense; an empty text if they were not measured."""
    if row["parameters"] is None:
        return ""
    share = row["parameters"] / row["parameters_dense"]
    cache, dense_cache = (row[f"kv_cache_bytes_per_token{suffix}"] for suffix in ("", "_dense"))
    speeds = (
        f"{phase} {row[f'{phase}_tokens_per_second']:.0f} tokens/s "
        f"(dense {row[f'{phase}_tokens_per_second_dense']:.0f})"
        for phase in ("prefill", "decode")
    )
    return (
        f" · {row['parameters'] / 1e6:,.1f} M parameters ({share:.0%} of dense)"
        f" · key-value cache {cache:,} bytes per token (dense {dense_cache:,})"
        f" · {', '.join(speeds)} on {row['device']}, {row['threads']} threads"
    )


def _cells(row: Row) -> list[Cell]:
    mean = row["task"] is None
    p = row["mcnemar_p"]
    difference, low, high = (
        f"{100 * row[name]:+.1f}" for name in ("difference", "difference_low", "difference_high")
    )
    name = f"mean of {row['n_tasks']} {FAMILIES[row['family']]}" if mean else row["task"]
    return [
        cell(name, "strong" if mean else "plain"),
        cell("" if mean else row["metric"]),
        cell("" if row["n_shot"] is None else row["n_shot"]),
        cell(f"{row['n_items']} ({row['n_cut']} cut)" if row["n_cut"] else row["n_items"]),
        cell(f"{100 * row['chance']:.1f}"),
        cell(f"{100 * row['dense_score']:.1f}"),
        cell(f"{100 * row['score']:.1f}"),
        cell(f"{difference} ({low} to {high})"),
        cell(_kept(row)),
        cell(row["to_wrong"]),
        cell(row["to_right"]),
        cell("–" if p is None else f"{p:.2g}", "strong" if p is not None and p < 0.05 else "plain"),
        cell(_printed(row)),
    ]


def _kept(row: Row) -> str:
    """The share above chance, in percent, with its interval; a dash where dense may guess."""
    if row["kept"] is None:
        return "–"
    share, low, high = (f"{100 * row[name]:.0f}" for name in ("kept", "kept_low", "kept_high"))
    return f"{share} % ({low} to {high})"


def _printed(row: Row) -> str:
    """The paper's scores and the model that has them."""
    if row["paper_score"] is None:
        return "–"
    tasks = f", mean of {row['paper_n_tasks']}" if row["task"] is None else ""
    return f"{row['paper_dense_score']} → {row['paper_score']} ({row['paper_model']}{tasks})"

"""Table 1. Every task of a variant beside dense, on the same items.

Scores in percent, each task by the metric that config names for it. Tasks that choose and tasks
that write are asked of the language model; retrieval is nDCG@10 of its last hidden state, and of an
embedding model. Difference: variant minus dense in points, with its paired 95 % bootstrap
interval over items. To wrong and to right: items whose outcome flipped, right being an outcome of
0.5 or more where it is graded (F1, ROUGE-L, nDCG). McNemar: exact, two-sided, of those flips, not
corrected for the number of tests, and only where every outcome is right or wrong. Means are over
tasks.

Over each variant stands what it costs, dense and variant timed in turn in one process. In the last
column stand the scores that the paper prints, dense → variant, of its own model and on whole data
sets: the tasks are the same, the items and solved examples are not. Its averages are as printed,
over its own tasks; four of the nine differ from the mean of their column by 0.1 to 0.6.

Look for variants whose tasks that write fall while those that choose do not; what chance gives is
not zero (a quarter where four are offered).
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
    "dense",
    "variant",
    "difference",
    "to wrong",
    "to right",
    "McNemar p",
    "printed in the paper",
)

FAMILIES = {
    "non_generative": "tasks that choose",
    "generative": "tasks that write",
    "retrieval": "retrieval sets",
}

Row = Mapping[str, Any]


def draw(rows: pa.Table) -> Table:
    """A heading per variant with its cost, a row per task, a mean per family."""
    return Table(HEAD, list(_rows(rows.to_pylist())))


def _rows(rows: list[Row]) -> Iterator[list[Cell]]:
    for (model, variant), of_variant in groupby(rows, lambda row: (row["model"], row["variant"])):
        compared = list(of_variant)
        yield [[Part(f"{model}: {variant}", "strong"), Part(_cost(compared[0]))]]
        yield from map(_compared, compared)


def _cost(row: Row) -> str:
    """What the variant costs, beside dense; nothing where that is not measured."""
    if row["parameters"] is None:
        return ""
    share = row["parameters"] / row["parameters_dense"]
    cache, dense_cache = (row[f"kv_cache_bytes_per_token{whose}"] for whose in ("", "_dense"))
    speeds = (
        f"{phase} {row[f'{phase}_tokens_per_second']:.0f} tokens/s "
        f"(dense {row[f'{phase}_tokens_per_second_dense']:.0f})"
        for phase in ("prefill", "decode")
    )
    return (
        f" · {row['parameters'] / 1e6:,.1f} M parameters ({share:.0%} of dense)"
        f" · key-value cache {cache:,} bytes a token (dense {dense_cache:,})"
        f" · {', '.join(speeds)} on {row['device']}, {row['threads']} threads"
    )


def _compared(row: Row) -> list[Cell]:
    mean = row["task"] is None
    p = row["mcnemar_p"]
    moved = row["score"] - row["dense_score"]
    interval = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
    name = f"mean of {row['n_tasks']} {FAMILIES[row['family']]}" if mean else row["task"]
    return [
        cell(name, "strong" if mean else "plain"),
        cell("" if mean else row["metric"]),
        cell("" if row["n_shot"] is None else row["n_shot"]),
        cell(f"{row['n_items']} ({row['n_cut']} cut)" if row["n_cut"] else row["n_items"]),
        cell(f"{100 * row['dense_score']:.1f}"),
        cell(f"{100 * row['score']:.1f}"),
        cell(f"{100 * moved:+.1f} ({interval})"),
        cell(row["to_wrong"]),
        cell(row["to_right"]),
        cell("–" if p is None else f"{p:.2g}", "strong" if p is not None and p < 0.05 else "plain"),
        cell(_printed(row)),
    ]


def _printed(row: Row) -> str:
    """The paper's scores, with the model they are of."""
    if row["paper_score"] is None:
        return "–"
    tasks = f", mean of {row['paper_n_tasks']}" if row["task"] is None else ""
    return f"{row['paper_dense_score']} → {row['paper_score']} ({row['paper_model']}{tasks})"

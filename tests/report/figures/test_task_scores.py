"""Table 1 and agreement with dense, on rows whose flips are known; what macros compute."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

import figure_rows
from draw_figure import load_chart
from prunescope.inference import paired_tasks, score_differences
from prunescope.measures import wording
from prunescope.paths import ROOT
from prunescope.report.queries import run_query
from prunescope.report.views import with_views
from prunescope.tables.schemas import TABLES

FIGURES = ROOT / "reports" / "figures"
Rows = list[dict[str, Any]]


def asked(sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query that uses the macros."""
    with duckdb.connect() as connection:
        rows, _ = run_query(connection, f"SELECT 'm' AS model, * FROM ({sql})", {})
        return [tuple(row.values())[1:] for row in rows.to_pylist()]


def test_texts_are_compared_in_sql_as_in_python() -> None:
    rng = np.random.default_rng(0)
    pairs = [([1, 2, 3], [1, 2, 3]), ([1, 2, 3], [1, 2]), ([5], [6, 5])]
    pairs += [
        tuple(rng.integers(0, 3, rng.integers(1, 9)).tolist() for _ in "ab") for _ in range(200)
    ]
    listed = ", ".join(f"({number}, {a}, {b})" for number, (a, b) in enumerate(pairs))
    found = asked(
        "SELECT equal_share(a, b), first_divergence(a, b) "
        f"FROM (VALUES {listed}) AS t (number, a, b) ORDER BY number"
    )
    for (a, b), (share, parted) in zip(pairs, found, strict=True):
        assert share == pytest.approx(wording.equal_share(a, b))
        assert parted == wording.first_divergence(a, b)


# ---- what a variant did on the items that dense did ------------------------------------------

TASKS = {
    "rte": ("non_generative", "acc"),
    "gsm8k": ("generative", "exact_match"),
    "squad": ("generative", "f1"),
}


def run(
    stem: str, outcomes: Mapping[str, Mapping[str, Sequence[float]]], **more: Any
) -> tuple[Rows, Rows]:
    """A figure's rows and findings.

    Parameters
    ----------
    outcomes : variant -> task -> the item's outcomes.
    more : tables to replace, as rows with their partition keys.
    """
    key = {"model": "m", "suite": "core"}
    tables: dict[str, Rows] = {
        "task_scores": [
            {**key, "variant": variant, "task": task, "metric": TASKS[task][1], "filter": "none"}
            | {"headline": True, "family": TASKS[task][0], "n_shot": 3, "n_items": len(of_task)}
            | {"n_cut": 2, "score": float(np.mean(of_task)), "higher_is_better": True}
            for variant, tasks in outcomes.items()
            for task, of_task in tasks.items()
        ],
        "task_samples": [
            {**key, "variant": variant, "task": task, "subtask": task, "item": item}
            | {"metric": TASKS[task][1], "filter": "none", "outcome": float(outcome)}
            | {"response": f"{variant} {item % 4}" if item % 4 else "same", "target": "a"}
            | {"chance": 0.0 if TASKS[task][0] == "generative" else 0.5, "doc_hash": "0"}
            | {"token_ids": [1, 2, 3, len(variant)], "stopped": True}
            | {"n_tokens": 4, "longest_loop": 2, "repeated_ngram_share": 0.5, "distinct_2": 1.0}
            for variant, tasks in outcomes.items()
            for task, of_task in tasks.items()
            for item, outcome in enumerate(of_task)
        ],
        "retrieval_difference": [],
        "variant_cost": [],
        **more,
    }
    arrow = {
        name: pa.Table.from_pylist(rows, TABLES[name].empty().schema)
        for name, rows in tables.items()
    }
    arrow["score_difference"] = _compared(arrow, key, list(outcomes))
    with duckdb.connect() as connection:
        for name, table in arrow.items():
            connection.register(name, table)
        sql = with_views((FIGURES / f"{stem}.sql").read_text(encoding="utf-8"))
        found, findings = run_query(connection, sql, {})
    return found.to_pylist(), findings


def _compared(
    arrow: Mapping[str, pa.Table], key: Mapping[str, str], variants: Sequence[str]
) -> pa.Table:
    """Rows of `score_difference`, as the stage of inference makes them."""

    def of_variant(table: str, variant: str) -> pa.Table:
        return arrow[table].filter(pc.equal(arrow[table]["variant"], variant))

    rows = [
        {**key, "variant": variant, **row}
        for variant in variants
        for row in score_differences.differences(
            "score_difference",
            paired_tasks.of_suite(
                of_variant("task_scores", "dense"),
                of_variant("task_scores", variant),
                of_variant("task_samples", "dense"),
                of_variant("task_samples", variant),
            ),
            seed=0,
        ).to_pylist()
    ]
    return pa.Table.from_pylist(rows, TABLES["score_difference"].empty().schema)


def of(rows: Rows, task: str | None, family: str, variant: str = "drop-8a") -> dict[str, Any]:
    """The one row of a task, or of the mean of its family."""
    (row,) = [r for r in rows if (r["task"], r["family"], r["variant"]) == (task, family, variant)]
    return row


DENSE = {
    "rte": [1] * 12 + [0] * 8,
    "gsm8k": [1] * 10 + [0] * 10,
    "squad": [0.9, 0.6, 0.5, 0.4, 0.0],
}
DAMAGED = {
    "rte": [1] * 11 + [0] + [1, 1] + [0] * 6,
    "gsm8k": [0] * 10 + [1] + [0] * 9,
    "squad": [0.45, 0.6, 0.2, 0.7, 0.1],
}


def test_flips_are_counted_in_both_directions_and_tested() -> None:
    rows, _ = run("tab01_task_scores", {"dense": DENSE, "drop-8a": DAMAGED})
    rte, gsm8k = of(rows, "rte", "non_generative"), of(rows, "gsm8k", "generative")
    assert (rte["to_wrong"], rte["to_right"], rte["mcnemar_p"]) == (1, 2, 1.0)
    assert (gsm8k["to_wrong"], gsm8k["to_right"]) == (10, 1)
    assert gsm8k["mcnemar_p"] == pytest.approx(2 * (1 + 11) / 2**11)
    assert (gsm8k["dense_score"], gsm8k["score"]) == (0.5, 0.05)
    assert (gsm8k["n_items"], gsm8k["n_shot"], gsm8k["metric"]) == (20, 3, "exact_match")


def test_graded_outcomes_flip_at_one_half_and_are_not_tested() -> None:
    rows, _ = run("tab01_task_scores", {"dense": DENSE, "drop-8a": DAMAGED})
    squad = of(rows, "squad", "generative")
    assert (squad["to_wrong"], squad["to_right"]) == (2, 1)
    assert squad["mcnemar_p"] is None
    assert squad["difference"] == pytest.approx((2.05 - 2.4) / 5)


def test_significant_tests_are_named() -> None:
    _, findings = run("tab01_task_scores", {"dense": DENSE, "drop-8a": DAMAGED})
    assert findings[-1] == (
        "drop-8a: 1 of 2 exact McNemar tests have p < 0.05 (gsm8k: 0.012). That takes at least six "
        "flips; the number of tasks with so many is 1."
    )


def test_the_score_of_a_family_is_the_mean_of_its_tasks() -> None:
    """Tasks of 20 and of 5 items have equal weight."""
    rows, _ = run("tab01_task_scores", {"dense": DENSE, "drop-8a": DAMAGED})
    mean = of(rows, None, "generative")
    assert mean["dense_score"] == pytest.approx((0.5 + 0.48) / 2)
    assert mean["score"] == pytest.approx((0.05 + 0.41) / 2)
    assert (mean["n_tasks"], mean["n_items"]) == (2, 25)
    assert (mean["to_wrong"], mean["to_right"]) == (12, 2)
    assert mean["difference_low"] < mean["difference"] < mean["difference_high"]


@pytest.mark.parametrize(("choosing", "writing"), [(0.95, 0.2), (0.75, 0.9), (0.9, 0.9)])
def test_shares_above_chance_of_both_families_are_told(choosing: float, writing: float) -> None:
    """Dense is always right; chance is one half for a choice, and 0 for a text."""

    def share(kept: float) -> list[int]:
        return [1] * round(200 * kept) + [0] * round(200 * (1 - kept))

    dense = {"rte": [1] * 200, "gsm8k": [1] * 200}
    variant = {"rte": share(choosing), "gsm8k": share(writing)}
    _, findings = run("tab01_task_scores", {"dense": dense, "drop-8a": variant})
    kept = (choosing - 0.5) / 0.5
    assert f"above chance, multiple-choice tasks keep {100 * kept:.0f} % (" in findings[0]
    assert f"generation tasks keep {100 * writing:.0f} % (" in findings[0]
    assert f" The difference is {100 * (kept - writing):.0f} points (" in findings[0]


def test_nothing_is_kept_where_dense_may_guess() -> None:
    outcomes = {"rte": [1, 0] * 10, "gsm8k": [0] * 20}
    rows, findings = run("tab01_task_scores", {"dense": outcomes, "drop-8a": outcomes})
    table = load_chart(FIGURES / "tab01_task_scores.py").draw(pa.Table.from_pylist(rows))
    column = table.head.index("kept")
    shown = {"".join(part.text for part in row[column]) for row in table.rows if len(row) > 1}
    assert shown == {"–"}
    assert len(findings) == 1, "McNemar's tests alone"


def test_values_of_the_paper_are_shown_for_its_own_model() -> None:
    """Only those it prints: not squad, not Wanda; averages are over its own tasks."""
    outcomes = {"dense": DENSE, "drop-8a": DAMAGED, "wanda-50": DAMAGED}
    rows, findings = run("tab01_task_scores", outcomes)
    paper = ("paper_model", "paper_dense_score", "paper_score")
    rte = of(rows, "rte", "non_generative")
    assert [rte[key] for key in paper] == ["mistral-7b-instruct", 72.9, 74.0]
    assert of(rows, "squad", "generative")["paper_score"] is None
    assert of(rows, "rte", "non_generative", "wanda-50")["paper_model"] is None
    mean = of(rows, None, "generative")
    assert [mean[key] for key in paper] == ["mistral-7b-instruct", 22.3, 13.2]
    assert mean["paper_n_tasks"] == 5
    assert len(rows) == 2 * (3 + 2)
    assert " In the paper, on its model, scores fall to 59 % of dense." in str(findings[0])
    table = load_chart(FIGURES / "tab01_task_scores.py").draw(pa.Table.from_pylist(rows))
    assert table.head[-1] == "printed in the paper"
    printed = {"".join(part.text for part in row[-1]) for row in table.rows if len(row) > 1}
    assert printed == {
        "–",
        "72.9 → 74.0 (mistral-7b-instruct)",
        "69.3 → 69.8 (mistral-7b-instruct, mean of 5)",
        "48.4 → 36.2 (mistral-7b-instruct)",
        "22.3 → 13.2 (mistral-7b-instruct, mean of 5)",
    }


def test_retrieval_is_a_family_by_its_first_metric() -> None:
    """Recall is in the table of differences, and not in Table 1; the language model is no task."""
    rows = [
        {"model": "e5", "variant": "drop-8a", **figure_rows.compared(scope, name, *family)}
        for scope, name, *family in (
            ("task", "scifact", "retrieval", "ndcg_at_10"),
            ("task", "scifact", "retrieval", "recall_at_100"),
            ("family", "retrieval", "retrieval", "ndcg_at_10"),
        )
    ]
    found, findings = run("tab01_task_scores", {}, retrieval_difference=rows)
    assert len(found) == 2
    scifact = of(found, "scifact", "retrieval")
    assert [scifact[key] for key in ("paper_model", "paper_score")] == [
        "e5-mistral-7b-instruct",
        71.4,
    ]
    assert findings[0].startswith(
        "drop-8a: of what the dense model scores above chance, retrieval sets keep 80 % "
        "(70 to 90 %)"
    )


def test_tasks_of_the_paper_have_the_names_of_config() -> None:
    """One place: reports/paper_values.csv, whose names are those of paper.yaml's tasks and sets."""
    config, paper = (
        yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
        for file in ("config.yaml", "paper.yaml")
    )
    with (ROOT / "reports/paper_values.csv").open(encoding="utf-8") as file:
        printed = list(csv.DictReader(file))
    for row in printed:
        if row["task"] == "average":
            continue
        if row["family"] == "retrieval":
            assert row["task"] in paper["models"]["e5-mistral-7b-instruct"]["embedding"]["sets"]
        else:
            assert config["tasks"][row["task"]]["family"] == row["family"]
            assert row["task"] in paper["suites"]["core"]
    keys = [tuple(row[key] for key in ("model", "family", "task", "variant")) for row in printed]
    assert len(set(keys)) == len(keys) == 78


# ---- agreement -------------------------------------------------------------------------------


def test_answers_can_change_while_scores_remain_zero() -> None:
    """No item can flip; three of four answers and one of four tokens differ."""
    floor = {"gsm8k": [0] * 20}
    rows, findings = run("ext_task_agreement", {"dense": floor, "drop-8a": floor})
    row = of(rows, "gsm8k", "generative")
    assert (row["score_lost"], row["flipped"]) == (0, 0)
    assert (row["answers_changed"], row["tokens_changed"], row["parted"]) == (0.75, 0.25, 3)
    dense = of(rows, "gsm8k", "generative", "dense")
    assert (dense["answers_changed"], dense["tokens_changed"], dense["parted"]) == (0, 0, None)
    assert findings[0] == (
        "drop-8a: on tasks that the dense model hardly solves (gsm8k), the mean score is 0.0 % "
        "(dense 0.0 %) and 0.0 % of outcomes flip. 75 % of answers change; 25 % of tokens differ "
        "from the dense model's, and 50 % of 4-grams are repetitions (dense 50 %)."
    )


def test_agreement_counts_flips_in_both_directions() -> None:
    rows, findings = run("ext_task_agreement", {"dense": DENSE, "drop-8a": DAMAGED})
    gsm8k = of(rows, "gsm8k", "generative")
    assert (gsm8k["to_wrong"], gsm8k["to_right"], gsm8k["flipped"]) == (0.5, 0.05, 0.55)
    assert gsm8k["score_lost"] == pytest.approx(0.45)
    assert of(rows, "squad", "generative")["flipped"] == pytest.approx(3 / 5)
    assert len(findings) == 2, "one for each family; no task is at the floor"

"""Table 1 and agreement with dense, on rows whose flips are known; what macros compute."""

import csv
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import comb
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import yaml

from draw_figure import load_chart
from prunescope.measures import wording
from prunescope.paths import ROOT
from prunescope.report.queries import run_query
from prunescope.tables.schemas import TABLES

FIGURES = ROOT / "reports" / "figures"
Rows = list[dict[str, Any]]


def asked(sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query that uses the macros."""
    with duckdb.connect() as connection:
        rows, _ = run_query(connection, f"SELECT 'm' AS model, * FROM ({sql})", {})
        return [tuple(row.values())[1:] for row in rows.to_pylist()]


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """Against whole numbers: twice the smaller tail of a fair coin, at most 1."""
    flips = [(wrong, right) for wrong in range(9) for right in range(9)]
    flips += [(400, 300), (0, 60), (1000, 1000)]
    listed = ", ".join(str(pair) for pair in flips)
    found = asked(f"SELECT mcnemar(b, c) FROM (VALUES {listed}) AS t (b, c)")
    for (wrong, right), (p,) in zip(flips, found, strict=True):
        n = wrong + right
        tail = sum(comb(n, k) for k in range(min(wrong, right) + 1))
        assert p == pytest.approx(float(min(Fraction(1), Fraction(2 * tail, 2**n))), rel=1e-9)


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
METHODS = {"dense": "identity", "drop-8a": "sublayer_drop", "wanda-50": "wanda"}


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
            | {"score": float(np.mean(of_task)), "higher_is_better": True, "seconds": 1.0}
            for variant, tasks in outcomes.items()
            for task, of_task in tasks.items()
        ],
        "task_samples": [
            {**key, "variant": variant, "task": task, "subtask": task, "item": item}
            | {"metric": TASKS[task][1], "filter": "none", "outcome": float(outcome)}
            | {"response": f"{variant} {item % 4}" if item % 4 else "same", "target": "a"}
            | {"doc_hash": "0", "token_ids": [1, 2, 3, len(variant)], "stopped": True}
            | {"n_tokens": 4, "longest_loop": 2, "repeated_ngram_share": 0.5, "distinct_2": 1.0}
            for variant, tasks in outcomes.items()
            for task, of_task in tasks.items()
            for item, outcome in enumerate(of_task)
        ],
        "compression_run": [
            {"model": "m", "variant": variant, "method": METHODS[variant], "settings": "{}"}
            for variant in outcomes
        ],
        "retrieval_samples": [],
        "variant_cost": [],
        **more,
    }
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            connection.register(name, pa.Table.from_pylist(rows, TABLES[name].empty().schema))
        sql = (FIGURES / f"{stem}.sql").read_text(encoding="utf-8")
        found, findings = run_query(connection, sql, {})
    return found.to_pylist(), findings


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
    assert squad["score"] - squad["dense_score"] == pytest.approx((2.05 - 2.4) / 5)
    assert squad["low"] < (2.05 - 2.4) / 5 < squad["high"]


def test_significant_tests_are_named() -> None:
    _, findings = run("tab01_task_scores", {"dense": DENSE, "drop-8a": DAMAGED})
    assert findings[1] == (
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
    assert mean["low"] < mean["score"] - mean["dense_score"] < mean["high"]


def test_intervals_are_those_of_paired_items() -> None:
    """As numpy draws pairs, and narrower than two samples apart where outcomes go together."""
    rng = np.random.default_rng(1)
    dense = rng.random(400) < 0.5
    variant = dense ^ (rng.random(400) < 0.1)
    rows, _ = run(
        "tab01_task_scores",
        {"dense": {"rte": dense.tolist()}, "drop-8a": {"rte": variant.tolist()}},
    )
    places = rng.integers(0, 400, (4000, 400))
    moved = variant.astype(float)[places].mean(axis=1) - dense.astype(float)[places].mean(axis=1)
    low, high = np.quantile(moved, [0.025, 0.975])
    apart = variant[rng.permutation(places)].mean(axis=1) - dense[places].mean(axis=1)
    for family_or_task in ("rte", None):
        row = of(rows, family_or_task, "non_generative")
        assert row["low"] == pytest.approx(low, abs=0.006)
        assert row["high"] == pytest.approx(high, abs=0.006)
        assert row["high"] - row["low"] < 0.6 * np.ptp(np.quantile(apart, [0.025, 0.975]))


@pytest.mark.parametrize(("choosing", "writing"), [(0.95, 0.2), (0.3, 0.9), (0.9, 0.9)])
def test_shares_of_both_families_are_told(choosing: float, writing: float) -> None:
    def share(kept: float) -> list[int]:
        return [1] * round(200 * kept) + [0] * round(200 * (1 - kept))

    dense = {"rte": [1] * 200, "gsm8k": [1] * 200}
    variant = {"rte": share(choosing), "gsm8k": share(writing)}
    _, findings = run("tab01_task_scores", {"dense": dense, "drop-8a": variant})
    assert (
        f"keep {100 * choosing:.0f} % of the dense model's mean score, generation tasks "
        f"{100 * writing:.0f} %."
    ) in findings[0]


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
    assert " In the paper, on its model, the two shares are 101 % and 59 %." in str(findings[0])
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


def test_retrieval_is_compared_query_by_query() -> None:
    found = {"dense": [1.0, 0.6, 0.0, 0.5], "drop-8a": [0.4, 0.7, 0.5, 0.5]}
    samples = [
        {"model": "e5", "variant": variant, "retrieval_set": "scifact", "query": f"q{place}"}
        | {"ndcg_at_10": score, "recall_at_100": 1.0, "best_score": 0.5, "n_cut": place // 2}
        for variant, scores in found.items()
        for place, score in enumerate(scores)
    ]
    rows, findings = run("tab01_task_scores", {}, retrieval_samples=samples)
    scifact = of(rows, "scifact", "retrieval")
    assert (scifact["to_wrong"], scifact["to_right"], scifact["n_shot"]) == (1, 1, None)
    assert (scifact["n_items"], scifact["n_cut"]) == (4, 2)
    assert [scifact[key] for key in ("paper_model", "paper_score")] == [
        "e5-mistral-7b-instruct",
        71.4,
    ]
    assert findings[0].startswith(
        "drop-8a: retrieval keeps 100 % of the dense model's mean nDCG@10 over 1 set, "
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

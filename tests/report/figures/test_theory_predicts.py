"""The rank correlation of estimates and losses is that of the rows, and decides the finding."""

import json

import duckdb
import pytest

from prunescope.paths import REPORTS
from prunescope.report.queries import run_query
from prunescope.report.views import with_views
from prunescope.tables.schemas import TABLES

QUERY = REPORTS / "figures/ext_theory_predicts.sql"

LOSSES = {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.5, "e": 0.7, "f": 0.6}
"""Share of a generative score lost, by variant. The multiple-choice task loses the opposite."""


def asked(estimates, dense=0.8):
    """Rows and findings of the figure, where Theorem 3 says these numbers of the variants."""
    scores = [
        {
            "variant": variant,
            "suite": "core",
            "task": task,
            "headline": True,
            "family": family,
            "n_items": 10,
            "score": score,
            "higher_is_better": True,
        }
        for variant, loss in {"dense": 0.0, **LOSSES}.items()
        for task, family, score in (
            ("squad", "generative", dense * (1 - loss)),
            ("boolq", "non_generative", 0.5 if variant == "dense" else 0.1 + loss / 2),
        )
    ]
    # Per prompt the mean is the estimate; other histories, temperatures and orders say otherwise.
    deviations = [
        {
            "variant": variant,
            "prompt": prompt,
            "sampling_temperature": sampled,
            "history": history,
            "step": step,
            "temperature": temperature,
            "space": "probability",
            "quantity": "kl_divergence",
            "order": order,
            "measured": 1.0,
            "estimated": estimate * (0.5 + step) if order == 2 and fair else -estimate,
        }
        for variant, estimate in estimates.items()
        for prompt in ("p", "q")
        for step in (0, 1)
        for history, temperature, sampled, fair in (
            ("teacher_forced", 1.0, 0.0, True),
            ("free_running", 1.0, 0.0, False),
            ("teacher_forced", 0.5, 0.0, False),
            ("teacher_forced", 1.0, 0.7, False),
        )
        for order in (2, 3)
    ]
    runs = [
        {"variant": variant, "method": "identity" if variant == "dense" else "wanda"}
        for variant in ("dense", *LOSSES)
    ]
    tables = {"task_scores": scores, "decoding_deviation": deviations, "compression_run": runs}
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            empty = TABLES[name].empty()
            columns = {
                n: [{"model": "m", **row}.get(n) for row in rows] for n in empty.column_names
            }
            connection.register(name, empty.from_pydict(columns, schema=empty.schema))
        sql = with_views(QUERY.read_text(encoding="utf-8"))
        rows, findings = run_query(connection, sql, {})
    return rows.to_pylist(), {said.split(":")[0]: said for said in findings}


def spearman(found, family):
    (value,) = {
        row["spearman"]
        for row in found
        if (row["predictor"], row["family"]) == ("theorem_3", family)
    }
    return value


def test_estimates_in_the_order_of_losses_have_a_correlation_of_one():
    """Multiple-choice losses are in reverse order, with a correlation of -1."""
    found, said = asked({variant: loss**2 for variant, loss in LOSSES.items()})
    assert spearman(found, "generative") == pytest.approx(1)
    assert spearman(found, "non_generative") == pytest.approx(-1)
    sizes = {row["variant"]: row["size"] for row in found if row["predictor"] == "theorem_3"}
    assert sizes == pytest.approx({variant: loss**2 for variant, loss in LOSSES.items()})
    lost = {row["variant"]: row["lost"] for row in found if row["family"] == "generative"}
    assert lost == pytest.approx(LOSSES)
    assert "of the dense score is 1.00" in said["Generation tasks"]
    assert "of the dense score is -1.00" in said["Multiple-choice tasks"]
    assert "dense" not in json.dumps([row["variant"] for row in found])


def test_ranks_in_part_correlate_in_part():
    """Spearman's formula for ranks without ties."""
    estimates = dict(zip(LOSSES, (5.0, 1.0, 4.0, 6.0, 2.0, 3.0), strict=True))
    found, _ = asked(estimates)
    ranks = {v: sorted(LOSSES.values()).index(loss) + 1 for v, loss in LOSSES.items()}
    squares = sum((ranks[v] - estimates[v]) ** 2 for v in LOSSES)
    assert spearman(found, "generative") == pytest.approx(1 - 6 * squares / (6 * 35))


def test_a_family_at_the_floor_gives_no_finding():
    """It is shown; dense scores 0 on the generation task, so that no share of it can be lost."""
    found, said = asked({variant: loss**2 for variant, loss in LOSSES.items()}, dense=0.0)
    assert {row["lost"] for row in found if row["family"] == "generative"} == {None}
    assert spearman(found, "generative") is None
    assert list(said) == ["Multiple-choice tasks"]

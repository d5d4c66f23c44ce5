"""The rank correlation of estimates and losses is that of the rows, and decides the finding."""

import json

import duckdb
import pytest

from prunescope.inference import correlations
from prunescope.paths import REPORTS
from prunescope.report.queries import run_query
from prunescope.report.views import with_views
from prunescope.tables.schemas import TABLES

QUERY = REPORTS / "figures/ext_theory_predicts.sql"

LOSSES = {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.5, "e": 0.7, "f": 0.6}
"""Share of the generative score above chance that is lost, by variant; of the other task, kept."""


def asked(estimates, guesses=()):
    """Rows and findings of the figure, where Theorem 3 says these numbers of the variants.

    Parameters
    ----------
    estimates : by variant.
    guesses : families in which dense may guess, so that nothing is known to be lost.
    """
    scores = [
        {"variant": variant, "suite": "core", "scope": scope, "name": name, "family": family}
        | {"n_tasks": 1, "n_items": 10, "n_cut": 0, "score": 0.5, "dense_score": 0.8}
        | {"kept": None if family in guesses else kept}
        for variant, loss in LOSSES.items()
        for family, task, kept in (
            ("generative", "squad", 1 - loss),
            ("non_generative", "boolq", loss),
        )
        for scope, name in (("task", task), ("family", family))
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
    tables = {"score_difference": scores, "decoding_deviation": deviations, "compression_run": runs}
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            empty = TABLES[name].empty()
            columns = {
                n: [{"model": "m", **row}.get(n) for row in rows] for n in empty.column_names
            }
            connection.register(name, empty.from_pydict(columns, schema=empty.schema))
        prepared = with_views("SELECT * FROM predicted_losses")
        pairs = connection.sql(prepared).to_arrow_table().to_pylist()
        found = correlations.of_losses(pairs).to_pylist()
        empty = TABLES["loss_correlation"].empty()
        keyed = [{"model": "m", "suite": "core", **row} for row in found]
        connection.register("loss_correlation", empty.from_pylist(keyed, schema=empty.schema))
        connection.execute("DROP VIEW predicted_losses")
        sql = with_views(QUERY.read_text(encoding="utf-8"))
        rows, findings = run_query(connection, sql, {})
    orders = [said for said in findings if "Theorem 3" in said]
    return rows.to_pylist(), {said.split(":")[0]: said for said in orders}


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
    assert "estimate and loss is 1.00" in said["Generation tasks"]
    assert "estimate and loss is -1.00" in said["Multiple-choice tasks"]
    assert "costs 0.0 % of the score above chance" in said["Generation tasks"]
    assert "costs 29.3 % of the score above chance" in said["Multiple-choice tasks"]
    assert "a coin 14.7 %" in said["Multiple-choice tasks"]
    assert "dense" not in json.dumps([row["variant"] for row in found])


def test_a_family_at_the_floor_gives_no_finding():
    """It is shown; dense may guess at the generation task, so that no share of it can be lost."""
    found, said = asked({variant: loss**2 for variant, loss in LOSSES.items()}, ["generative"])
    assert {row["lost"] for row in found if row["family"] == "generative"} == {None}
    assert spearman(found, "generative") is None
    assert list(said) == ["Multiple-choice tasks"]

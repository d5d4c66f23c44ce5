"""A view of reports/views/ is made where a query reads it, after what it rests on."""

import duckdb
import pytest

from prunescope import queries, views
from prunescope.schemas import TABLES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(views, "VIEWS", tmp_path)
    (tmp_path / "doubled.sql").write_text("-- Twice.\nSELECT 2 * x AS y FROM numbers\n")
    (tmp_path / "numbers.sql").write_text("SELECT unnest([1, 2]) AS x -- two\n")
    (tmp_path / "unread.sql").write_text("SELECT * FROM nowhere\n")
    return tmp_path


def test_views_are_made_in_the_order_they_need(folder):
    sql = "SELECT sum(y) FROM doubled INNER JOIN numbers ON x = y;"
    assert list(views.read_by(sql)) == ["numbers", "doubled"]
    with duckdb.connect() as connection:
        connection.execute(views.with_views(sql))
        assert connection.fetchall() == [(2,)]


def test_a_query_that_reads_none_stays_as_it_is(folder):
    sql = "SELECT 'numbers' AS doubled FROM range(3)"
    assert views.with_views(sql) == sql


SCORED = {
    "task": "hellaswag",
    "metric": "acc",
    "filter": "none",
    "headline": True,
    "family": "non_generative",
    "n_shot": 0,
    "n_items": 100,
    "higher_is_better": True,
    "seconds": 1.0,
}


def scores(**scored):
    """Rows of `task_scores`, variant -> score of one task."""
    return [
        {**SCORED, "model": "m", "variant": name, "score": score, "standard_error": 0.1}
        for name, score in scored.items()
    ]


def rows_of(view, **tables):
    """What a view of reports/views/ gives, over these rows."""
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            table = TABLES[name].empty()
            columns = {n: [row.get(n) for row in rows] for n in table.column_names}
            connection.register(name, table.from_pydict(columns, schema=table.schema))
        found, _ = queries.run_query(
            connection, views.with_views(f"SELECT * FROM {view} ORDER BY ALL"), {}
        )
    return found.to_pylist()


def test_shares_are_of_denses_score_and_intervals_stay_scores():
    rows = scores(dense=0.5, mild=0.4, bad=0.05)
    perplexity = {**rows[0], "task": "wikitext", "higher_is_better": False, "score": 12.0}
    failed = {**rows[1], "task": "boolq", "score": None}
    other = {**rows[1], "metric": "acc_norm", "headline": False, "score": 0.9}
    found = rows_of("headline_scores", task_scores=[*rows, perplexity, failed, other])
    assert {row["variant"]: row["share_of_dense"] for row in found} == pytest.approx(
        {"dense": 1, "mild": 0.8, "bad": 0.1}
    )
    assert {row["variant"]: row["low"] for row in found} == pytest.approx(
        {"dense": 0.304, "mild": 0.204, "bad": 0}
    )


def test_a_family_keeps_the_mean_share_of_its_tasks():
    """0.8 and 0.4 of two tasks that choose, 0.1 of one that writes."""
    choosing = [*scores(dense=0.5, pruned=0.4), *scores(dense=0.5, pruned=0.2)]
    for row, task in zip(choosing, ("boolq", "boolq", "piqa", "piqa"), strict=True):
        row["task"] = task
    written = scores(dense=0.2, pruned=0.02)
    writing = [{**row, "task": "squad", "family": "generative"} for row in written]
    alone = scores(unwritten=0.5)
    found = rows_of("family_shares", task_scores=[*choosing, *writing, *alone])
    assert {r["variant"]: (r["choosing"], r["writing"]) for r in found} == {
        "dense": (1, 1),
        "pruned": (pytest.approx(0.6), pytest.approx(0.1)),
    }


def test_dense_drops_none_of_every_kind_its_model_has():
    settings = {
        "dense": ("identity", "{}"),
        "drop-2a": ("sublayer_drop", '{"sublayer": "attn", "n_drop": 2}'),
        "drop-1b": ("block_drop", '{"n_drop": 1}'),
        "drop-each": ("sublayer_drop", '{"sublayer": "any", "n_drop": "all"}'),
        "wanda-50": ("wanda", '{"sparsity": 0.5}'),
    }
    runs = [
        {"model": model, "variant": name, "method": method, "settings": text}
        for model in ("m", "n")
        for name, (method, text) in settings.items()
        if (model, name) != ("n", "drop-1b")
    ]
    found = {
        (row["model"], row["variant"], row["dropped"], row["n_drop"])
        for row in rows_of("drop_sizes", compression_run=runs)
    }
    assert found == {
        ("m", "dense", "attn", 0),
        ("m", "dense", "block", 0),
        ("m", "drop-2a", "attn", 2),
        ("m", "drop-1b", "block", 1),
        ("n", "dense", "attn", 0),
        ("n", "drop-2a", "attn", 2),
    }

"""A view of reports/views/ is created if a query reads it, after the views that it reads."""

import duckdb
import pytest

from figure_rows import compared
from prunescope.report import queries, views
from prunescope.tables.schemas import TABLES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(views, "VIEWS", tmp_path)
    (tmp_path / "doubled.sql").write_text("-- Twice.\nSELECT 2 * x AS y FROM numbers\n")
    (tmp_path / "numbers.sql").write_text("SELECT unnest([1, 2]) AS x -- two\n")
    (tmp_path / "unread.sql").write_text("SELECT * FROM nowhere\n")
    return tmp_path


def test_views_are_created_after_those_they_read(folder):
    sql = "SELECT sum(y) FROM doubled INNER JOIN numbers ON x = y;"
    assert list(views.read_by(sql)) == ["numbers", "doubled"]
    with duckdb.connect() as connection:
        connection.execute(views.with_views(sql))
        assert connection.fetchall() == [(2,)]


def test_a_query_without_views_is_not_changed(folder):
    sql = "SELECT 'numbers' AS doubled FROM range(3)"
    assert views.with_views(sql) == sql


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


def test_headline_scores_are_those_of_tasks_with_intervals_and_shares():
    """Not of families and contrasts. No share is taken of a dense score of 0."""
    task = compared("task", "hellaswag", "non_generative", "acc")
    rows = [
        {"model": "m", "variant": "mild", "suite": "core", **each}
        for each in (
            task,
            {**task, "name": "boolq", "dense_score": 0.0, "kept": None},
            compared("family", "non_generative", "non_generative"),
            compared("contrast", "non_generative minus generative"),
        )
    ]
    both = rows_of("headline_scores", score_difference=rows)
    found = {row["task"]: row for row in both if row["variant"] == "mild"}
    assert found.keys() == {"hellaswag", "boolq"}
    shown = [found["hellaswag"][name] for name in ("score", "low", "high", "chance", "kept")]
    assert shown == pytest.approx([0.5, 0.4, 0.6, 0.1, 0.8])
    assert found["hellaswag"]["share_of_dense"] == pytest.approx(0.5 / 0.6)
    assert (found["boolq"]["share_of_dense"], found["boolq"]["kept"]) == (None, None)
    dense = {row["task"]: row for row in both if row["variant"] == "dense"}
    shown = [dense["hellaswag"][name] for name in ("score", "low", "high", "share_of_dense")]
    assert shown == pytest.approx([0.6, 0.5, 0.7, 1])
    assert dense["boolq"]["share_of_dense"] is None


def test_dense_is_a_drop_of_none_of_each_kind():
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


def deviations(space, sizes, **changed):
    """Rows of `deviation` of dropped attention, (block, measured, estimated / measured) each."""
    return [
        {"model": "m", "variant": "v", "prompt": "a", "step": step, "block": block}
        | {"temperature": 1.0 if space == "probability" else None, "space": space}
        | {"sublayer": "attn", "quantity": "angular_deviation", "order": 2}
        | {"measured": measured, "estimated": measured * ratio, **changed}
        for step, (block, measured, ratio) in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("off", "space", "said"),
    [
        (1, "logit", "at 1 of 3 blocks (1). It is largest at block 1 (50 %). The paper"),
        (2, "logit", "at 1 of 3 blocks (2). It is largest at block 2 (50 %). The paper"),
        (1, "probability", "at 1 of 3 blocks (1). It is largest at block 1 (50 %)."),
    ],
)
def test_a_failure_of_an_estimate_at_the_ends_is_recognized(off, space, said):
    """Off by half at one block, by a tenth at others; other orders and sublayers do not count."""
    sizes = [(block, 0.2, 1.5 if block == off else 0.9) for block in range(3) for _ in range(4)]
    others = [
        *deviations(space, [(0, 0.2, 9.0)], sublayer="mlp"),
        *deviations(space, [(0, 0.2, 9.0)], order=3),
        *deviations(space, [(0, 0.0, 9.0)]),
    ]
    of_all, of_blocks = rows_of("estimate_findings", deviation=[*deviations(space, sizes), *others])
    assert "over 12 prompts, steps and blocks" in of_all["finding"]
    assert said in of_blocks["finding"]


def test_the_variance_is_compared_with_the_squared_deviation_of_each_space():
    """Var 0.02 T at relative deviations of 0.1 in h and 0.2 in z: the quotients are 2 T and T/2."""
    place = {"model": "m", "variant": "v", "prompt": "a", "step": 0, "block": 0, "sublayer": "attn"}
    shift = [{**place, "temperature": t, "var_escort": 0.02 * t} for t in (1.0, 2.0)]
    turns = {"embedding": 0.1, "logit": 0.2, "probability": 0.5}
    trace = [
        {**place, "space": space, "relative_orthogonal_magnitude": turn}
        for space, turn in turns.items()
    ]
    found = rows_of("variance_ratios", logit_shift=shift, sublayer_trace=trace)
    assert {(row["space"], row["temperature"]): row["ratio"] for row in found} == pytest.approx(
        {("embedding", 1): 2, ("logit", 1): 0.5, ("embedding", 2): 4, ("logit", 2): 1}
    )

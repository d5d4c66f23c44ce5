"""Two stores are compared bit for bit, except for columns that a repeated run cannot reproduce."""

import math

import pyarrow as pa
import pytest

from prunescope.storage import differences, store
from prunescope.tables.schemas import TABLES

WALL_CLOCK = {
    "compression_run": {"seconds", "peak_memory_mb"},
    "variant_cost": {
        *(f"{phase}_tokens_per_second{whose}" for phase in ("prefill", "decode")
          for whose in ("", "_dense")),
        *(f"{phase}_speedup{end}" for phase in ("prefill", "decode")
          for end in ("", "_low", "_high")),
        "device",
        "threads",
    },
    "task_scores": {"seconds"},
    "retrieval_scores": {"seconds"},
}  # fmt: skip


def filled(table, **values):
    """One row of a table: ones, texts and lists of one, but for the values given."""
    row = {
        column.name: values.get(column.name, usual(column.type)) for column in TABLES[table].columns
    }
    return pa.Table.from_pylist([row], TABLES[table].schema)


def usual(kind):
    if pa.types.is_list(kind):
        return [usual(kind.value_type)]
    return {pa.string(): "a", pa.bool_(): True}.get(kind, 1)


@pytest.fixture
def compared(tmp_path):
    """Write one row to each of two stores; what differs."""

    def run(table, one, other):
        roots = tmp_path / "one", tmp_path / "other"
        for root, values in zip(roots, (one, other), strict=True):
            made_by = {"rule": "test", "settings": {"root": root.name}}
            store.write(root / table / "part.parquet", filled(table, **values), table, made_by)
        return list(differences.of_stores(*roots))

    return run


def test_times_speeds_and_machines_are_marked_as_not_reproducible():
    """An unmarked column of seconds or speeds would make every comparison fail."""
    marked = {
        name: {column.name for column in table.columns if column.wall_clock}
        for name, table in TABLES.items()
    }
    assert {name: columns for name, columns in marked.items() if columns} == WALL_CLOCK
    for name, table in TABLES.items():
        for column in table.columns:
            if any(word in column.name for word in ("second", "memory", "time_", "speed")):
                assert column.name in WALL_CLOCK[name]


@pytest.mark.parametrize("table", WALL_CLOCK)
def test_columns_of_wall_clock_time_are_skipped(table, compared):
    kinds = {column.name: column.type for column in TABLES[table].columns}
    other = {name: "b" if kinds[name] == pa.string() else 7 for name in WALL_CLOCK[table]}
    assert compared(table, {}, other) == []


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (1.0, math.nextafter(1.0, 2.0), "by at most 2.2e-16 of the larger number"),
        (0.0, -0.0, "differs in 1 of 1 rows"),
        (1.0, math.nan, "differs in 1 of 1 rows"),
    ],
)
def test_a_single_bit_is_a_difference(one, other, said, compared):
    (found,) = compared("influence", {"influence": one}, {"influence": other})
    assert found.startswith("influence/part.parquet: column influence ") and said in found


def test_equal_stores_have_no_difference(compared):
    """NaN equals NaN, NULL equals NULL, lists are lists; provenance is not compared."""
    assert compared("influence", {"influence": math.nan}, {"influence": math.nan}) == []
    assert compared("compression_report", {"sparsity": None}, {"sparsity": None}) == []
    assert compared("calibration", {}, {}) == []


def test_differences_in_text_null_and_lists_are_found(compared):
    assert compared("influence", {"sublayer": "attn"}, {"sublayer": "mlp"})
    assert compared("compression_report", {"sparsity": None}, {"sparsity": 0.0})
    assert compared("calibration", {"token_ids": [1]}, {"token_ids": [2]})


def test_missing_files_rows_and_columns_are_found(compared, tmp_path):
    compared("influence", {}, {})
    store.write(
        tmp_path / "one/influence/model=a/part.parquet", filled("influence"), "influence", {}
    )
    (found,) = differences.of_stores(tmp_path / "one", tmp_path / "other")
    assert found == f"influence/model=a/part.parquet is only in {tmp_path / 'one'}."
    rows = filled("influence")
    assert list(differences.of_rows(rows, rows.slice(0, 0), "influence")) == [
        "there are 1 and 0 rows."
    ]
    assert "columns are" in next(differences.of_rows(rows, rows.drop_columns("block"), "influence"))


def test_the_command_reports_differences(compared, tmp_path, capsys):
    """Exit status 0 or 1; a folder that is not a store is refused."""
    compared("influence", {}, {})
    roots = [str(tmp_path / "one"), str(tmp_path / "other")]
    assert differences.main(roots) == 0
    assert capsys.readouterr().out.startswith("0 differences")
    compared("influence", {}, {"block": 2})
    assert differences.main(roots) == 1
    assert "column block differs in 1 of 1 rows" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        differences.main([str(tmp_path / "one"), str(tmp_path / "nowhere")])
    assert "holds no table" in capsys.readouterr().err

"""The bundle holds the numbers of the page, twice, and says what they are."""

import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from build_bundle import build_bundle
from prunescope.storage import store
from prunescope.tables.schemas import TABLES

ROWS = [
    {"model": "m", "step": 0, "similarity": 0.5, "words": ["a", "b"], "note": None},
    {"model": "m", "step": 1, "similarity": 0.25, "words": [], "note": 'say "no", please'},
]
VERDICT = {
    "claim": "theorem-3",
    "model": "m",
    "subject": "",
    "n": 12,
    "value": 0.1,
    "low": 0.05,
    "high": 0.2,
    "p_value": 0.01,
    "n_tests": 1,
    "p_corrected": 0.01,
    "verdict": "holds",
    "reason": "",
    "n_to_decide": None,
}


@pytest.fixture
def folder(tmp_path):
    figure = {
        "usermeta": {"title": "Figure 14. KL"},
        "datasets": {"left": ROWS[:1], "right": ROWS[1:]},
    }
    store.write_json(tmp_path / "fig14_theory_kl.json", figure)
    file = tmp_path / "claim_verdict/figure=fig14_theory_kl/part.parquet"
    rows = pa.Table.from_pylist([VERDICT], TABLES["claim_verdict"].schema)
    store.write(str(file), rows, "claim_verdict", store.provenance("judge_claims", {}))
    bundle = tmp_path / "results/bundle"
    build_bundle([str(tmp_path / "fig14_theory_kl.json")], [str(file)], str(bundle), "0abc")
    return bundle


def test_csv_and_parquet_hold_the_rows_of_the_figure(folder):
    assert pq.read_table(folder / "figures/fig14_theory_kl.parquet").to_pylist() == ROWS
    read = pyarrow.csv.read_csv(folder / "figures/fig14_theory_kl.csv").to_pylist()
    assert [row["similarity"] for row in read] == [0.5, 0.25]
    assert [json.loads(row["words"]) for row in read] == [["a", "b"], []]
    assert read[1]["note"] == 'say "no", please'


def test_verdicts_name_their_figure(folder):
    (row,) = pq.read_table(folder / "claim_verdict.parquet").to_pylist()
    assert row == {**VERDICT, "figure": "fig14_theory_kl"}


def test_the_dictionary_has_every_column_of_every_table(folder):
    rows = pyarrow.csv.read_csv(folder / "data_dictionary.csv").to_pylist()
    named = {(row["table"], row["column"]) for row in rows}
    assert named == {
        (table.name, name)
        for table in TABLES.values()
        for name in (*table.partition, *(column.name for column in table.columns))
    }
    assert all(row["meaning"] for row in rows)


def test_the_metadata_describe_every_file_and_no_other(folder):
    """RO-Crate 1.1: a descriptor about the root, whose parts are all files."""
    graph = json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
    entries = {entry["@id"]: entry for entry in graph}
    assert entries["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    parts = {part["@id"] for part in entries["./"]["hasPart"]}
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert parts == files - {"ro-crate-metadata.json"}
    assert all(entries[part]["@type"] == "File" and entries[part]["name"] for part in parts)


def test_nothing_unfinished_is_left(folder):
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]

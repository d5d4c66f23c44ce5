"""The store writes complete files or none, and refuses rows that do not match the schema."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from prunescope.model import edits
from prunescope.model.edits import Edit
from prunescope.model.replacements import Masked
from prunescope.paths import SCRIPTS
from prunescope.storage import store
from prunescope.tables.schemas import TABLES

ROW = {"block": 0, "sublayer": "attn", "influence": 0.25, "n_tokens": 10}


def _influence(**changes: object) -> pa.Table:
    return pa.Table.from_pylist([{**ROW, **changes}], schema=TABLES["influence"].schema)


def _path(folder: Path, model: str) -> Path:
    return folder / "influence" / f"model={model}" / "part.parquet"


def test_rows_are_read_as_written_with_their_provenance(tmp_path):
    """Values, compression and the provenance in the metadata."""
    made_by = store.provenance("score_influences", {"seed": 3})
    path = _path(tmp_path, "m")
    store.write(path, _influence(), "influence", made_by)
    assert store.read(path, "influence").to_pylist() == [ROW]
    assert store.read_provenance(path) == made_by
    assert made_by["packages"]["pyarrow"] == pa.__version__
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("influence"), r"missing columns \['influence'\]"),
        (lambda t: t.append_column("extra", pa.array([1])), r"unknown columns \['extra'\]"),
        (lambda t: t.set_column(0, "block", pa.array(["0"])), "column 'block' has type string"),
        (lambda t: t.set_column(0, "block", pa.nulls(1, pa.int32())), "contains nulls"),
    ],
)
def test_rows_that_do_not_match_the_schema_are_refused(tmp_path, change, message):
    """Neither the file nor a temporary one is left."""
    path = _path(tmp_path, "m")
    with pytest.raises(ValueError, match=message):
        store.write(path, change(_influence()), "influence", {})
    assert list(path.parent.iterdir()) == []


def test_a_failing_stream_leaves_the_previous_file(tmp_path):
    """An interrupted new version does not change it."""
    path = _path(tmp_path, "m")
    store.write(path, _influence(), "influence", {})
    with pytest.raises(RuntimeError), store.writer(path, "influence", {}) as file:
        file.write(_influence(influence=0.5))
        raise RuntimeError("killed")
    assert store.read(path, "influence").to_pylist() == [ROW]
    assert [p.name for p in path.parent.iterdir()] == ["part.parquet"]


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path):
    """At most a hidden temporary file is left."""
    path = _path(tmp_path, "m")
    script = (
        "import os, signal\n"
        "from prunescope.storage import store\n"
        f"with store.written_whole({str(path)!r}) as part:\n"
        "    part.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    scripts = SCRIPTS
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(scripts)}, check=False
    )
    assert run.returncode == -9
    (left,) = path.parent.iterdir()
    assert left.name.startswith(".part.parquet.")
    store.write(path, _influence(), "influence", {})
    assert [p.name for p in path.parent.iterdir()] == ["part.parquet"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077], ids=oct)
@pytest.mark.parametrize(
    "edit",
    [Edit({"attn": (1,)}), Edit(tensors={"some.weight": Masked.by(torch.ones(3, 5) == 1)})],
    ids=["indices", "tensors"],
)
def test_files_have_the_default_permissions(edit, umask, tmp_path):
    """Also those that safetensors would make private; the umask is not changed."""
    before = os.umask(umask)
    try:
        edits.write(tmp_path / "edit.safetensors", edit, {})
        store.write(tmp_path / "part.parquet", _influence(), "influence", {})
        (tmp_path / "plain").touch()
    finally:
        assert os.umask(before) == umask
    assert len({file.stat().st_mode for file in tmp_path.iterdir()}) == 1


def test_views_read_exactly_the_given_files(tmp_path):
    """Partition keys are text even if they look like numbers; other files are not read."""
    for model in ("50", "left-out"):
        store.write(_path(tmp_path, model), _influence(), "influence", {})
    connection = store.open_tables({"influence": [_path(tmp_path, "50")]})
    assert connection.sql("SELECT model, influence FROM influence").fetchall() == [("50", 0.25)]


def test_equal_inputs_give_equal_bytes(tmp_path):
    """Files contain no time and no host name."""
    made_by = store.provenance("score_influences", {})
    for name in ("a", "b"):
        store.write(_path(tmp_path, name), _influence(), "influence", made_by)
    assert _path(tmp_path, "a").read_bytes() == _path(tmp_path, "b").read_bytes()

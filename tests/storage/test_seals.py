"""A file of the store shows whether it is complete: any flipped bit is detected."""

import hashlib
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import fetch_model
from prunescope.model import edits, loading
from prunescope.model.edits import Edit
from prunescope.progress import JobError
from prunescope.storage import digests, seals, store
from prunescope.tables.schemas import TABLES
from tiny import make_tiny_model, tiny_model

ROW = {"block": 0, "sublayer": "attn", "influence": 0.25, "n_tokens": 10}


def _table(folder: Path) -> Path:
    path = folder / "influence" / "model=m" / "part.parquet"
    rows = pa.Table.from_pylist([{**ROW, "block": b} for b in range(40)])
    store.write(path, rows.cast(TABLES["influence"].schema), "influence", {"rule": "r"})
    return path


def _drop(folder: Path) -> Path:
    edits.write(folder / "drop.safetensors", Edit({"attn": (1, 2)}), {"rule": "r"})
    return folder / "drop.safetensors"


def _weights(folder: Path) -> Path:
    weight = torch.arange(12.0).reshape(3, 4)
    edits.write(folder / "weights.safetensors", Edit({}, {"a.weight": weight}), {"rule": "r"})
    return folder / "weights.safetensors"


def _json(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    store.write_json(folder / "figure.json", {"title": "é", "rows": [1.5, None]})
    return folder / "figure.json"


@pytest.mark.parametrize("make", [_table, _drop, _weights, _json])
def test_flipped_bits_and_truncation_are_detected(make, tmp_path):
    """One random bit of each byte is flipped."""
    path = make(tmp_path)
    content = path.read_bytes()
    assert seals.is_whole(path)
    drawn = random.Random(1)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        assert not seals.is_whole(path), place
    for length in (0, 1, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert not seals.is_whole(path), length
    path.write_bytes(content + b"\0")
    assert not seals.is_whole(path)


@pytest.mark.parametrize("make", [_table, _drop, _weights, _json])
def test_a_seal_is_read_without_reading_the_whole_file(make, tmp_path):
    path = make(tmp_path)
    digest = seals.seal_of(path)
    assert digest is not None
    blank = path.read_bytes().replace(digest.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == digest
    path.write_bytes(b"")
    assert seals.seal_of(path) is None


def test_sealed_files_are_reproducible_and_readable_by_other_programs(tmp_path):
    first = _table(tmp_path / "a")
    for make in (_table, _drop, _weights, _json):
        assert len({make(tmp_path / str(n)).read_bytes() for n in range(16)}) == 1, make
    assert pq.read_table(first)["block"].to_pylist() == list(range(40))
    assert json.loads(_json(tmp_path).read_text("utf-8"))["rows"] == [1.5, None]
    assert store.read_json(tmp_path / "figure.json") == {"title": "é", "rows": [1.5, None]}


def test_text_that_looks_like_a_seal_is_not_a_seal(tmp_path):
    """Neither in a table nor in the rows of a figure."""
    table = pa.table({"text": [seals.BLANK, seals.BLANK.replace("0", "7")]})
    with store.sealed_parquet(tmp_path / "a.parquet", table.schema) as file:
        file.write_table(table)
    assert store.read_parquet(tmp_path / "a.parquet").equals(table)
    store.write_json(tmp_path / "a.json", {"text": seals.BLANK})
    assert store.read_json(tmp_path / "a.json") == {"text": seals.BLANK}


@pytest.mark.parametrize(
    "read",
    [
        lambda path: store.read(path, "influence"),
        lambda path: store.open_tables({"influence": [path]}),
    ],
)
def test_readers_name_and_set_aside_a_damaged_table(read, tmp_path):
    """DuckDB, which would read a flipped page without an error, does not get it."""
    path = _table(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(JobError, match=r"part\.parquet is damaged.*same command again"):
        read(path)
    assert [file.name for file in path.parent.iterdir()] == [".part.parquet.damaged"]


def test_a_damaged_split_is_fetched_again(tmp_path):
    """The folder of a task without its manifest is made anew."""
    rows, manifest = tmp_path / "task=t", tmp_path / "task=t.json"
    rows.mkdir()
    store.write_json(manifest, {"test.parquet": "0"})
    (rows / "test.parquet").write_bytes(b"")
    with pytest.raises(JobError, match="is damaged"):
        store.read_parquet(rows / "test.parquet")
    assert not manifest.exists()


def _fetched(folder: Path) -> tuple[Path, Path]:
    source = make_tiny_model(folder / "mine")
    model_dir = folder / "inputs" / "model=m"
    fetched = {"from": "path", "path": str(source)}
    fetch_model.fetch_model(fetched, 3, str(model_dir), f"{model_dir}.json")
    return source, model_dir


def _load(model_dir: Path) -> object:
    return loading.load(model_dir, "float32", torch.device("cpu"))


def test_weights_overwritten_after_fetching_are_refused(tmp_path, monkeypatch):
    """Names and sizes are the same, for instance after more training; hashes are cached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_AFTER", -1.0)
    source, model_dir = _fetched(tmp_path)
    _load(model_dir)
    hashed = []
    monkeypatch.setattr(digests, "sha256", lambda file: hashed.append(file) or "other")
    _load(model_dir)
    assert not hashed
    monkeypatch.undo()
    vocabulary = json.loads((source / "config.json").read_text())["vocab_size"]
    tiny_model("llama", vocabulary=vocabulary, seed=1).save_pretrained(source)
    with pytest.raises(JobError, match=r"model\.safetensors is not what was fetched.*again"):
        _load(model_dir)
    assert not Path(f"{model_dir}.json").exists()


def test_a_missing_file_of_a_model_is_named(tmp_path):
    source, model_dir = _fetched(tmp_path)
    (source / "tokenizer.json").unlink()
    with pytest.raises(JobError, match=r"tokenizer\.json is not what was fetched"):
        _load(model_dir)


def test_files_are_flushed_to_disk_before_renaming(tmp_path, monkeypatch):
    """Otherwise a power failure could leave a name without bytes."""
    order = []
    monkeypatch.setattr(store, "_sync_to_disk", lambda path: order.append(Path(path).name))
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, to: order.append(f"to {Path(to).name}") or replace(self, to)
    )
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "a").write_text("a")
    (tmp_path / "new" / "link").symlink_to(tmp_path / "elsewhere")
    store.move(tmp_path / "new", tmp_path / "final")
    assert order == ["deep", "a", "new", "to final", tmp_path.name]

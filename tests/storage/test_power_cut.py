"""After a power cut an artifact is whole or absent.

Root can mount a file system on a loop device and shut it down: from then on nothing more reaches
the device, whatever the programs and the cache still hold. Mounted again, it is what a power cut
leaves.
"""

import fcntl
import os
import struct
import subprocess
import sys
import time

import duckdb
import pytest

from prunescope.paths import SCRIPTS
from prunescope.storage import seals

SHUT_DOWN, WITHOUT_JOURNAL = 0x8004_587D, 2
"""ext4's request to stop (EXT4_IOC_SHUTDOWN), and its option to leave the journal as it is."""

WRITER = """
import os, sys
from pathlib import Path
import pyarrow as pa
import build_catalog
from prunescope.model import edits
from prunescope.storage import store
from prunescope.tables.schemas import TABLES

root = Path(sys.argv[1])
if sys.argv[2] == "without fsync":
    os.fsync = lambda file: None
row = {"block": 0, "sublayer": "attn", "influence": 0.25, "n_tokens": 10}
rows = pa.Table.from_pylist([row] * 40, schema=TABLES["influence"].schema)
for number in range(10**6):
    table = root / f"influence/model={number}/part.parquet"
    store.write(table, rows, "influence", {})
    edits.write(root / f"{number}.safetensors", edits.Edit({"attn": (1, 2)}), {})
    store.write_json(root / f"{number}.json", {"rows": list(range(1000))})
    build_catalog.build_catalog({"influence": [str(table)]}, str(root / f"{number}.duckdb"))
    folder = root / f".{number}"
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(100_000))
    store.move(folder, root / str(number))
    print(number, flush=True)
"""


@pytest.fixture
def disk(tmp_path):
    """Mounts a small disk again and again; what it holds stays, as far as it was written."""
    image, folder = tmp_path / "disk", tmp_path / "mounted"
    image.write_bytes(b"")
    os.truncate(image, 64 << 20)
    folder.mkdir()

    def mount():
        options = "loop,noauto_da_alloc,commit=1"  # ext4 does not guess what should be synced
        subprocess.run(["mount", "-o", options, image, folder], check=True, capture_output=True)
        return folder

    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
        mount()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop device can be mounted here: {error}")
    subprocess.run(["umount", folder], check=True)
    yield mount
    subprocess.run(["umount", "--quiet", folder], check=False)


def cut_while_writing(disk, how, seconds):
    """Cut the power while artifacts are written; returns how many are whole and which are not."""
    folder = disk()
    command = [sys.executable, "-c", WRITER, str(folder), how]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as writer:
        assert writer.stdout.readline() == b"0\n"
        time.sleep(seconds)
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUT_DOWN, struct.pack("I", WITHOUT_JOURNAL))
        os.close(descriptor)
        writer.kill()
    subprocess.run(["umount", folder], check=True)
    disk()
    files = [file for file in folder.rglob("*") if file.is_file()]
    found = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    damaged = [str(file.relative_to(folder)) for file in found if not is_whole(file)]
    return len(found) - len(damaged), damaged


def is_whole(file):
    if file.name == "weights":
        return file.stat().st_size == 100_000
    if file.suffix != ".duckdb":
        return seals.is_whole(file)
    try:
        with duckdb.connect(str(file), read_only=True) as catalog:
            views = catalog.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal")
            return views.fetchall() == [("influence",)]
    except duckdb.Error:
        return False


def test_a_power_cut_leaves_only_whole_artifacts(disk):
    n_whole, damaged = cut_while_writing(disk, "as it is", seconds=2.3)
    assert not damaged
    assert n_whole >= 5


def test_without_fsync_it_leaves_names_without_bytes(disk):
    """So that the test above would notice: at one of a few moments, if not at the first."""
    moments = (3.2, 4.1, 2.6, 5.3, 3.7)
    cuts = (cut_while_writing(disk, "without fsync", seconds) for seconds in moments)
    assert any(damaged for _, damaged in cuts)

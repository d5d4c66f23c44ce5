"""Seals: every artifact carries a digest of its own bytes, so that damage is noticed.

Each file format can hold a short text: Parquet in its footer, safetensors in its header, JSON as
its first key, and the page as a comment. The writer puts a blank of zeros there, hashes the whole
file including the blank, and then replaces the blank by the digest. The digest is thus copied along
with the file, any reader of the format can still read the file, and a flipped bit is noticed
wherever it is: in the data, in the statistics of a table or in the digest itself. DuckDB ignores
the page checksums of Parquet, so every file is checked here before DuckDB opens it.
"""

import hashlib
import json
import mmap
from collections.abc import Mapping
from pathlib import Path

from prunescope.progress import JobError

KEY = "seal"
"""Key under which Parquet, safetensors and JSON hold the digest."""

_MARK = b"prunescope-sha256:"
_DIGITS = 64
BLANK = (_MARK + b"0" * _DIGITS).decode()
"""The text that a writer puts where the digest will be."""


def header(content: Mapping[str, object]) -> str:
    """The text for the header of a safetensors file: the content as JSON, with the blank.

    It must be the only metadata of the header: safetensors writes several keys in random order, so
    that equal edits would give different files.
    """
    return json.dumps({KEY: BLANK, **content}, sort_keys=True)


_SEARCHED_BYTES = 1 << 20
"""Number of bytes at the start or the end of a file that `seal_of` searches."""


class NoSealError(Exception):
    """A file has no seal: it was written by another release, or it is incomplete."""


def seal(file: str | Path) -> None:
    """Replace the blank that the writer left in a file by the digest of the file's bytes."""
    digest, offset = _digest_and_offset(Path(file))
    with Path(file).open("r+b") as stream:
        stream.seek(offset)
        stream.write(digest)


def is_whole(file: str | Path) -> bool:
    """Whether a file still holds the bytes with which it was sealed."""
    path = Path(file)
    try:
        digest, offset = _digest_and_offset(path)
    except NoSealError:
        return False
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(_DIGITS) == digest


def seal_of(file: str | Path) -> str | None:
    """The digest that a file carries, without checking it; None if the file has no seal.

    Only part of the file is read: the seal is in the first bytes, or in the last bytes of a table.
    """
    path = Path(file)
    with path.open("rb") as stream:
        if ".parquet" in path.name:
            stream.seek(max(0, path.stat().st_size - _SEARCHED_BYTES))
        content = stream.read(_SEARCHED_BYTES)
    start = content.rfind(_MARK) if ".parquet" in path.name else content.find(_MARK)
    digest = content[start + len(_MARK) :][:_DIGITS]
    return digest.decode(errors="replace") if start >= 0 and len(digest) == _DIGITS else None


def check(file: str | Path) -> None:
    """Raise JobError if a file is damaged, and set the file aside so that the next run remakes it.

    The manifest beside the file's folder, if there is one, is set aside too: a damaged file of an
    input folder, such as the rows of a task, is repaired by fetching the whole folder again.

    Raises
    ------
    JobError
        if the file is damaged.
    FileNotFoundError
        if there is no such file.
    """
    path = Path(file)
    if is_whole(path):
        return
    set_aside(path)
    set_aside(Path(f"{path.parent}.json"))
    raise JobError(
        f"{path} is damaged: its bytes are not those that were written (or an older release wrote "
        f"it). It was set aside as {_damaged_name(path).name}. Run the same command again to make "
        "the file anew."
    )


def set_aside(path: Path) -> None:
    """Rename a file, if it exists, to a hidden name that the workflow ignores."""
    if path.exists():
        path.replace(_damaged_name(path))


def _damaged_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.damaged")


def _digest_and_offset(path: Path) -> tuple[bytes, int]:
    """Digest of the file with the blank in place of its digest, in hex digits, and their offset."""
    with path.open("rb") as stream:
        if not path.stat().st_size:
            raise NoSealError(f"{path} is empty.")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # The seal is in the footer of a table and at the start of other files. Searching from
            # that side skips a text in the content that looks like a seal.
            start = content.rfind(_MARK) if ".parquet" in path.name else content.find(_MARK)
            offset = start + len(_MARK)
            if start < 0 or offset + _DIGITS > len(content):
                raise NoSealError(f"{path} has no seal.")
            digest = hashlib.sha256()
            with memoryview(content) as view:
                digest.update(view[:offset])
                digest.update(b"0" * _DIGITS)
                digest.update(view[offset + _DIGITS :])
    return digest.hexdigest().encode(), offset

"""Artifacts that know whether they are whole: each file carries a digest of its own bytes.

A table, an edit and a JSON file can each carry a short text: in the footer of Parquet, in the
header of safetensors, as the first key of JSON. The writer leaves a blank there, hashes the whole
file with the blank in it, and fills the hash in. So the digest travels with the file wherever it is
copied, any reader of the format still reads it, and a bit that flips anywhere, in a page, in
statistics or in the digest itself, is noticed. DuckDB ignores the page checksums of Parquet;
nothing is handed to it that has not been checked here.
"""

import hashlib
import json
import mmap
from collections.abc import Mapping
from pathlib import Path

from prunescope.progress import JobError

KEY = "seal"
"""Key of the text, in each of the three formats."""

_MARK = b"prunescope-sha256:"
_DIGITS = 64
BLANK = (_MARK + b"0" * _DIGITS).decode()
"""What a writer puts where the digest will stand."""


def header(content: Mapping[str, object]) -> str:
    """Text for the header of a safetensors file: the content as JSON, and the blank.

    It has to be all of the header's metadata: safetensors writes several keys in an order drawn by
    lot, and equal edits would not be equal files.
    """
    return json.dumps({KEY: BLANK, **content}, sort_keys=True)


_NEAR = 1 << 20
"""Bytes at the start or the end of a file in which `seal_of` looks."""


class NoSealError(Exception):
    """A file has no place for a digest: it was not written by this release, or not to its end."""


def seal(file: str | Path) -> None:
    """Fill the digest of a file's bytes into the blank that its writer left."""
    digest, place = _digest_and_place(Path(file))
    with Path(file).open("r+b") as opened:
        opened.seek(place)
        opened.write(digest)


def is_whole(file: str | Path) -> bool:
    """Whether a file holds the bytes it was sealed with."""
    path = Path(file)
    try:
        digest, place = _digest_and_place(path)
    except NoSealError:
        return False
    with path.open("rb") as opened:
        opened.seek(place)
        return opened.read(_DIGITS) == digest


def seal_of(file: str | Path) -> str | None:
    """The digest a file carries, unchecked and without reading all of it; None where it has none.

    The seal stands in the first bytes of a file, or in the last of a table.
    """
    path = Path(file)
    with path.open("rb") as opened:
        if ".parquet" in path.name:
            opened.seek(max(0, path.stat().st_size - _NEAR))
        part = opened.read(_NEAR)
    found = part.rfind(_MARK) if ".parquet" in path.name else part.find(_MARK)
    digest = part[found + len(_MARK) :][:_DIGITS]
    return digest.decode(errors="replace") if found >= 0 and len(digest) == _DIGITS else None


def check(file: str | Path) -> None:
    """Raise JobError for a damaged file, and set it aside, so that the next run makes it anew.

    A file of an input folder, such as the rows of a task, is fetched again with all of it: the
    manifest beside the folder is set aside, too.

    Raises
    ------
    FileNotFoundError
        if there is no such file.
    """
    path = Path(file)
    if is_whole(path):
        return
    set_aside(path)
    set_aside(Path(f"{path.parent}.json"))
    raise JobError(
        f"{path} is damaged: it does not hold the bytes it was written with (or an older release "
        f"wrote it). It was set aside as {_aside(path).name}. Run the same command again, which "
        "makes it anew."
    )


def set_aside(path: Path) -> None:
    """Hide a file from the workflow under another name, if it is there."""
    if path.exists():
        path.replace(_aside(path))


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.damaged")


def _digest_and_place(path: Path) -> tuple[bytes, int]:
    """Digest of the file with the blank in its place, in hex digits, and where they stand."""
    with path.open("rb") as opened:
        if not path.stat().st_size:
            raise NoSealError(f"{path} is empty.")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # A footer ends a table, the others start with it: what a file holds is no seal.
            found = content.rfind(_MARK) if ".parquet" in path.name else content.find(_MARK)
            place = found + len(_MARK)
            if found < 0 or place + _DIGITS > len(content):
                raise NoSealError(f"{path} has no seal.")
            digest = hashlib.sha256()
            with memoryview(content) as view:
                digest.update(view[:place])
                digest.update(b"0" * _DIGITS)
                digest.update(view[place + _DIGITS :])
    return digest.hexdigest().encode(), place

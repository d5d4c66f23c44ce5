"""Unpacking files that others packed, within bounds: a small file must not fill disk or memory.

A gzip file of one megabyte can hold a gigabyte of zeros, an xz file several times that. What a
packed file may unpack to is bounded by its own size (`allowance`), and the bound is kept while
bytes are read, a piece at a time: no piece is larger than what was asked for. A file that is
damaged or that ends early is named in the error.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from prunescope.progress import JobError

MOST_RATIO = 200
"""Bytes unpacked per byte packed, at most. Repetitive text reaches 50; a file of zeros 1000."""

FREE_BYTES = 256 << 20
"""So many bytes may be unpacked whatever the ratio: they harm no machine."""

MOST_BYTES = 64 << 30
"""Bytes unpacked of one file, at most, whatever its size."""

OPENERS: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""What reads a packed file, by suffix."""

_BLOCK = 1 << 16


def allowance(packed_bytes: int) -> int:
    """Bytes that a packed file of this size may unpack to."""
    return min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * packed_bytes))


def open_file(file: Path, name: str) -> IO[bytes]:
    """A file for reading, unpacked as its suffix says, within bounds.

    Reading raises JobError if the packed file is damaged, ends early or unpacks to too much.

    Parameters
    ----------
    name : what the file is called in messages.
    """
    opener = OPENERS.get(file.suffix.lower())
    if opener is None:
        return file.open("rb")
    packed_bytes = file.stat().st_size
    if packed_bytes == 0:  # gzip takes it for a packed empty file
        raise JobError(f"{name}: the packed file ends early: it is empty. Fetch or pack it again.")
    return io.BufferedReader(_Bounded(opener(file, "rb"), name, packed_bytes), _BLOCK)


class _Bounded(io.RawIOBase):
    """An unpacking stream that counts its bytes."""

    def __init__(self, unpacked: Any, name: str, packed_bytes: int) -> None:
        self._unpacked, self._name, self._packed_bytes = unpacked, name, packed_bytes
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with naming_damage(self._name):
            n_bytes: int = self._unpacked.readinto(buffer)
        self._n_bytes += n_bytes
        refuse_more(self._name, self._packed_bytes, self._n_bytes)
        return n_bytes

    def close(self) -> None:
        self._unpacked.close()
        super().close()


def refuse_more(name: str, packed_bytes: int, unpacked_bytes: int) -> None:
    """Raise JobError if a packed file unpacks to more than its allowance.

    Parameters
    ----------
    name : what the file is called in messages.
    packed_bytes, unpacked_bytes : its size, and what it unpacks to or has unpacked to so far.
    """
    allowed = allowance(packed_bytes)
    if unpacked_bytes > allowed:
        raise JobError(
            f"{name}: {packed_bytes / 1e6:.1f} MB packed unpack to more than {allowed / 1e6:.0f} "
            f"MB, the most that is unpacked of a file of this size ({MOST_RATIO} times its size, "
            f"but {FREE_BYTES / 1e6:.0f} MB in any case and never more than "
            f"{MOST_BYTES / 1e9:.0f} GB). Such a file is damaged or made to fill the disk. If "
            "you trust it, unpack it yourself and give the unpacked file as `from: path` in config."
        )


@contextlib.contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Turn what the unpacking libraries raise for a bad file into a JobError that names it."""
    try:
        yield
    except EOFError as error:
        raise JobError(
            f"{name}: the packed file ends early ({error}). Fetch or pack it again."
        ) from error
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        raise _damaged(name, error) from error
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the file's
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> JobError:
    return JobError(
        f"{name}: the packed file is damaged or cannot be unpacked ({type(error).__name__}: "
        f"{error}). Fetch or pack it again."
    )


def unpack_members(archive_file: Path, members: Sequence[str], folder: Path) -> dict[str, Path]:
    """Members of a zip archive as files below a folder, by their names, within bounds.

    An archive declares the size of each member, and no more than that is read of it: the sum is
    refused before the first byte is written.

    Raises
    ------
    JobError
        if a member points outside the folder, or the archive is damaged or unpacks to too much.
    """
    with naming_damage(archive_file.name), zipfile.ZipFile(archive_file) as archive:
        declared = sum(archive.getinfo(member).file_size for member in members)
        refuse_more(archive_file.name, archive_file.stat().st_size, declared)
        return {member: _unpack(archive, member, folder) for member in members}


def member_names(archive_file: Path) -> list[str]:
    """Names of the members of a zip archive, in its order; JobError if it is damaged."""
    with naming_damage(archive_file.name), zipfile.ZipFile(archive_file) as archive:
        return archive.namelist()


def _unpack(archive: zipfile.ZipFile, member: str, folder: Path) -> Path:
    target = (folder / member).resolve()
    if not target.is_relative_to(folder.resolve()):
        name = Path(str(archive.filename)).name
        raise JobError(
            f"{name}: member {member!r} points outside its own folder. Nothing was unpacked of it; "
            "do not use this archive."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        naming_damage(f"{Path(str(archive.filename)).name}, member {member}"),
        archive.open(member) as packed,
        target.open("wb") as unpacked,
    ):
        while block := packed.read(_BLOCK):
            unpacked.write(block)
    return target

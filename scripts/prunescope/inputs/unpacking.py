"""Unpack compressed files from untrusted sources within limits on their unpacked size.

A gzip file of one megabyte can hold a gigabyte of zeros, and an xz file several times as much, so
that a small file could fill the disk or the memory. The unpacked size is limited in proportion to
the packed size (`allowance`). The limit is checked after each block that is read, and no block is
larger than requested. Errors about damaged or truncated files name the file.
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
"""Most unpacked bytes per packed byte. Repetitive text reaches 50, a file of zeros 1000."""

FREE_BYTES = 256 << 20
"""Number of bytes that may be unpacked whatever the ratio, because any machine can hold them."""

MOST_BYTES = 64 << 30
"""Most bytes that may be unpacked from one file, whatever its size."""

OPENERS: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Function that opens a compressed file, by the file's suffix."""

_BLOCK = 1 << 16


def allowance(packed_bytes: int) -> int:
    """Number of bytes that may be unpacked from a packed file of this size."""
    return min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * packed_bytes))


def open_file(file: Path, name: str) -> IO[bytes]:
    """Open a file for reading; if its suffix names a compression, unpack it within the limits.

    Reading raises JobError if the packed file is damaged, ends early or exceeds its allowance.

    Parameters
    ----------
    file : path of the file.
    name : the file's name in messages.
    """
    opener = OPENERS.get(file.suffix.lower())
    if opener is None:
        return file.open("rb")
    packed_bytes = file.stat().st_size
    if packed_bytes == 0:  # gzip would read it as a packed file with empty content
        raise JobError(f"{name}: the packed file ends early: it is empty. Fetch or pack it again.")
    return io.BufferedReader(_BoundedReader(opener(file, "rb"), name, packed_bytes), _BLOCK)


class _BoundedReader(io.RawIOBase):
    """A stream of unpacked bytes that counts them and enforces the allowance."""

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
    name : the file's name in messages.
    packed_bytes : size of the packed file.
    unpacked_bytes : number of bytes that it declares or that have been unpacked so far.
    """
    allowed = allowance(packed_bytes)
    if unpacked_bytes > allowed:
        raise JobError(
            f"{name}: {packed_bytes / 1e6:.1f} MB packed unpack to more than {allowed / 1e6:.0f} "
            f"MB, the limit for a file of this size ({MOST_RATIO} times its size, but at least "
            f"{FREE_BYTES / 1e6:.0f} MB and at most {MOST_BYTES / 1e9:.0f} GB). The file is "
            "damaged, or made to fill the disk. If you trust it, unpack it yourself and name the "
            "unpacked file as `from: path` in config."
        )


@contextlib.contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Turn the errors of the unpacking libraries into a JobError that names the file."""
    try:
        yield
    except EOFError as error:
        raise JobError(
            f"{name}: the packed file ends early ({error}). Fetch or pack it again."
        ) from error
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        raise _damage_error(name, error) from error
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the file system, not of the packed file
        raise _damage_error(name, error) from error


def _damage_error(name: str, error: Exception) -> JobError:
    return JobError(
        f"{name}: the packed file is damaged or cannot be unpacked ({type(error).__name__}: "
        f"{error}). Fetch or pack it again."
    )


def unpack_members(archive_file: Path, members: Sequence[str], folder: Path) -> dict[str, Path]:
    """Unpack members of a zip archive below a folder, within the limits.

    An archive declares the size of each member, and no more than that is read. An archive whose
    declared sizes exceed the allowance is therefore refused before anything is written.

    Parameters
    ----------
    archive_file : the zip archive.
    members : names of the members to unpack.
    folder : where to write them; a member keeps its name as the path below the folder.

    Returns
    -------
    The path of each unpacked file, by the name of the member.

    Raises
    ------
    JobError
        if a member points outside the folder, or the archive is damaged or exceeds its allowance.
    """
    with naming_damage(archive_file.name), zipfile.ZipFile(archive_file) as archive:
        declared = sum(archive.getinfo(member).file_size for member in members)
        refuse_more(archive_file.name, archive_file.stat().st_size, declared)
        return {member: _unpack_member(archive, member, folder) for member in members}


def member_names(archive_file: Path) -> list[str]:
    """Names of the members of a zip archive, in its order. Raises JobError if it is damaged."""
    with naming_damage(archive_file.name), zipfile.ZipFile(archive_file) as archive:
        return archive.namelist()


def _unpack_member(archive: zipfile.ZipFile, member: str, folder: Path) -> Path:
    target = (folder / member).resolve()
    if not target.is_relative_to(folder.resolve()):
        name = Path(str(archive.filename)).name
        raise JobError(
            f"{name}: member {member!r} points outside the folder into which it would be unpacked. "
            "It was not unpacked; do not use this archive."
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

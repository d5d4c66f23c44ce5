"""Allow a single run per working directory and per store, by a lock that ends with its process.

Snakemake's own lock is a file that remains after a kill or a power cut, and the same command then
refuses to start. The profiles therefore turn it off and use this lock instead.
"""

import os
from pathlib import Path

from filelock import FileLock, Timeout

_HELD_LOCKS: list[FileLock] = []
"""Locks held by this process; a reference keeps each of them until the process ends."""


class LockedError(Exception):
    """Another run uses the same directory; the message names its process."""


def is_free(file: str | Path) -> bool:
    """Whether no other process holds the lock, or the file system has no locks."""
    try:
        check_free(file)
    except LockedError:
        return False
    return True


def check_free(file: str | Path) -> None:
    """Raise LockedError if another process holds the lock; nothing stays locked."""
    if Path(file).is_file() and (lock := _acquired(Path(file))):
        lock.release()


def hold(file: str | Path) -> None:
    """Lock `file` until this process ends, and write the id of this process beside it.

    On a file system without locks, nothing is locked.

    Raises
    ------
    LockedError
        if another process holds the lock.
    """
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    if lock := _acquired(path):
        _process_file(path).write_text(str(os.getpid()), encoding="utf-8")
        _HELD_LOCKS.append(lock)


def _acquired(path: Path) -> FileLock | None:
    """The lock, acquired; None on a file system without locks. Raises LockedError."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        file = _process_file(path)
        process = file.read_text(encoding="utf-8") if file.is_file() else "?"
        raise LockedError(
            f"process {process} already runs this workflow and has locked {path.resolve()}. Wait "
            "until it ends, or stop it."
        ) from None
    except NotImplementedError:
        return None
    return lock


def _process_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.process")

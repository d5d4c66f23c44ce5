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
    if not Path(file).is_file():
        return True
    lock = FileLock(file)
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False
    except NotImplementedError:
        return True


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
    process_file = path.with_name(f"{path.name}.process")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process = process_file.read_text(encoding="utf-8") if process_file.is_file() else "?"
        raise LockedError(
            f"process {process} already runs this workflow and has locked {path.resolve()}. Wait "
            "until it ends, or stop it."
        ) from None
    except NotImplementedError:
        return
    process_file.write_text(str(os.getpid()), encoding="utf-8")
    _HELD_LOCKS.append(lock)

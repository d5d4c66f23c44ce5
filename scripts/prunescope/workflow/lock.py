"""One run per working directory, and per store, by a lock that dies with its process.

Snakemake's own lock is a file: it outlives a kill or a power cut, and the same command then
refuses to start. The profiles switch it off for this one.
"""

import os
from pathlib import Path

from filelock import FileLock, Timeout

_HELD: list[FileLock] = []
"""Locks of this process: each ends when it is released, at the latest with the process."""


class LockedError(Exception):
    """Another run works in the same directory; its message says which process."""


def hold(file: str | Path) -> None:
    """Lock `file` until this process ends, and leave its number beside it.

    If a file system knows no locks, nothing is locked.

    Raises
    ------
    LockedError
        if another process holds it.
    """
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(f"{path.name}.process")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process = holder.read_text(encoding="utf-8") if holder.is_file() else "?"
        raise LockedError(
            f"process {process} already runs this workflow and holds {path.resolve()}. Wait until "
            "it ends, or stop it."
        ) from None
    except NotImplementedError:
        return
    holder.write_text(str(os.getpid()), encoding="utf-8")
    _HELD.append(lock)

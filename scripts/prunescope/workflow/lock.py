"""One run per working directory, and per store, by a lock that dies with its process.

Snakemake's own lock is a file: it outlives a kill or a power cut, and the same command then
refuses to start. The profiles switch it off for this one.
"""

import fcntl
import os
from pathlib import Path

_HELD: list[object] = []
"""Open lock files: the lock ends when they are closed, at the latest with the process."""


class LockedError(Exception):
    """Another run works in the same directory; its message says which process."""


def hold(file: str | Path) -> None:
    """Lock `file` until this process ends.

    Where a file system knows no locks, nothing is locked.

    Raises
    ------
    LockedError
        if another process holds it.
    """
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        raise LockedError(
            f"process {handle.read().strip() or '?'} already runs this workflow and holds "
            f"{path.resolve()}. Wait until it ends, or stop it."
        ) from None
    except OSError:
        return
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    _HELD.append(handle)

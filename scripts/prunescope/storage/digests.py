"""Digests of files, cached until the files change, and the check that a model is unchanged."""

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.progress import JobError
from prunescope.storage import seals, store

ANNOUNCED_BYTES = 10**9
"""Number of bytes to hash from which a message announces the wait."""

SETTLED_AFTER = 2.0
"""Seconds after a change from which a later change is certain to give the file another time.

File systems record times with a limited resolution: two changes in quick succession may bear the
same time.
"""


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """sha256 digests of files, by name; for files that have not changed since, from the cache.

    A file counts as unchanged if its path, size, inode, modification time and status-change time
    are the same; no usual way of changing a file leaves all of them as they were. The digest of a
    file that has changed within the last seconds is not cached, because its next version could
    bear the same times.
    """
    cached = _cached_digests()
    sha256_of, new_entries = {}, {}
    uncached = {
        name
        for name, file in files.items()
        if cached.get(str(file), {}).get("is") != _file_state(file)
    }
    n_bytes = sum(files[name].stat().st_size for name in uncached)
    if n_bytes > ANNOUNCED_BYTES:
        progress.warn(
            f"hashing {n_bytes / 1e9:.1f} GB of local files; this is not repeated until they change"
        )
    for name, file in progress.track(files.items(), "hashing") if uncached else files.items():
        if name not in uncached:
            sha256_of[name] = cached[str(file)]["sha256"]
            continue
        state, start_time = _file_state(file), time.time()
        sha256_of[name] = sha256(file)
        if state == _file_state(file) and start_time - max(state[2:]) / 1e9 > SETTLED_AFTER:
            new_entries[str(file)] = {"is": state, "sha256": sha256_of[name]}
    if new_entries:
        _remember_digests(new_entries)
    return sha256_of


def _file_state(file: Path) -> list[int]:
    """Size, inode, modification and status-change time (ns): what changes when a file does."""
    stat = file.stat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def _cache_file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "prunescope" / "sha256.json"


def _cached_digests() -> dict[str, dict[str, Any]]:
    """Cached digests by path; empty if there is no cache or it is damaged."""
    with contextlib.suppress(OSError, RuntimeError, JobError):
        return store.read_json(_cache_file())
    return {}


def _remember_digests(new_entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Add entries to the cache, by a rename because other jobs may be reading it.

    Failures are ignored, because nothing depends on the cache.
    """
    with contextlib.suppress(OSError, RuntimeError):
        target = _cache_file()
        old_entries = {
            path: entry for path, entry in _cached_digests().items() if Path(path).exists()
        }
        store.write_json(target, {**old_entries, **new_entries})


def check_folder(folder: str | Path) -> None:
    """Raise JobError if a fetched model no longer matches its manifest.

    Most files of a local model are links to the user's own files, which may be overwritten by
    training or an editor. A file is hashed again only if its size, inode or times have changed
    since it was last hashed. A folder without a manifest beside it does not belong to the store
    and is not checked.
    """
    manifest = Path(f"{folder}.json")
    if not manifest.is_file():
        return
    fetched = store.read_json(manifest)["files"]
    files = {name: Path(folder) / name for name in fetched}
    missing = [name for name, file in files.items() if not file.is_file()]
    present = {name: file.resolve() for name, file in files.items() if name not in missing}
    present_digests = digests(present)
    different = [name for name in present if present_digests[name] != fetched[name]["sha256"]]
    if missing or different:
        seals.set_aside(manifest)
        changed = ", ".join([*missing, *different][:3])
        raise JobError(
            f"model {folder}: {changed} is not what was fetched (see {manifest.name}): it has been "
            "edited, damaged or removed since. Run the same command again: the model is fetched "
            "again, and everything made from it is made again."
        )


def checksums(folder: str | Path) -> dict[str, str]:
    """sha256 digest of every file of a folder, by name."""
    return {file.name: sha256(file) for file in sorted(Path(folder).iterdir())}


def sha256(file: Path) -> str:
    """sha256 digest of a file, in hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

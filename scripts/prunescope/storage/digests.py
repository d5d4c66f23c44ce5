"""Hashes of files, remembered until they change; whether a model is still what was fetched."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.progress import JobError
from prunescope.storage import seals, store

WORTH_A_WORD = 10**9
"""Bytes to hash from which on the wait is announced."""

SETTLED_AFTER = 2.0
"""Seconds after which a file's times tell it from its next version, whatever the clock's grain."""


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of files, by name; of a file that is as it was at an earlier call, from the cache.

    The cache goes by place, size, inode and both times of change, which no usual way to change a
    file leaves as they were. A file that changed just now is not remembered: its next version
    could bear the same times.
    """
    known = _cached_digests()
    found, new = {}, {}
    unknown = {n for n, file in files.items() if known.get(str(file), {}).get("is") != _state(file)}
    n_bytes = sum(files[name].stat().st_size for name in unknown)
    if n_bytes > WORTH_A_WORD:
        progress.warn(f"hashing {n_bytes / 1e9:.1f} GB of local files, once until they change")
    for name, file in progress.track(files.items(), "hashing") if unknown else files.items():
        if name not in unknown:
            found[name] = known[str(file)]["sha256"]
            continue
        state, began = _state(file), time.time()
        found[name] = sha256(file)
        if state == _state(file) and began - max(state[2:]) / 1e9 > SETTLED_AFTER:
            new[str(file)] = {"is": state, "sha256": found[name]}
    if new:
        _remember_digests(new)
    return found


def _state(file: Path) -> list[int]:
    """What changes when a file does: its size, inode, and times of change in ns."""
    stat = file.stat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def _cache_file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "prunescope" / "sha256.json"


def _cached_digests() -> dict[str, dict[str, Any]]:
    """Digests by path; none where there is no cache, or one that cannot be read."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        found = json.loads(_cache_file().read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _remember_digests(new: Mapping[str, Mapping[str, Any]]) -> None:
    """Add to the cache, by a rename: jobs beside this one read it. A cache is no condition."""
    with contextlib.suppress(OSError, RuntimeError):
        target = _cache_file()
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = {path: each for path, each in _cached_digests().items() if Path(path).exists()}
        part = target.with_name(f"{target.name}.{os.getpid()}")
        part.write_text(json.dumps({**kept, **new}), encoding="utf-8")
        part.replace(target)


def check_folder(folder: str | Path) -> None:
    """Raise JobError if a fetched model is no longer what its manifest says.

    Most of a model's files are links to a user's own, which training or an editor may write over.
    A file is hashed again only where its size, inode or times have changed since it last was. A
    folder without a manifest beside it is not the store's, and is not checked.
    """
    manifest = Path(f"{folder}.json")
    if not manifest.is_file():
        return
    fetched = store.read_json(manifest)["files"]
    files = {name: Path(folder) / name for name in fetched}
    gone = [name for name, file in files.items() if not file.is_file()]
    there = {name: file.resolve() for name, file in files.items() if name not in gone}
    found = digests(there)
    other = [name for name in there if found[name] != fetched[name]["sha256"]]
    if gone or other:
        seals.set_aside(manifest)
        changed = ", ".join([*gone, *other][:3])
        raise JobError(
            f"model {folder}: {changed} is not what was fetched ({manifest.name}): it was edited, "
            "damaged or removed since. Run the same command again: the model is fetched anew, and "
            "all that was made from it is made again."
        )


def checksums(folder: str | Path) -> dict[str, str]:
    """sha256 of every file of a folder, by name."""
    return {file.name: sha256(file) for file in sorted(Path(folder).iterdir())}


def sha256(file: Path) -> str:
    """Hex digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

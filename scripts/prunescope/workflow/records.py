"""Keep Snakemake's records of all artifacts in the store, so that they are copied along with it.

Snakemake compares the settings, code and inputs that a job would have with those that it recorded
when the job ran. It keeps these records in the working directory. A store that is copied from
another checkout therefore lacks them, and Snakemake takes an artifact without a record for up to
date, whatever seed or settings it was made with.

Each run therefore leaves a copy of its records in the store. Before the next run plans, it checks
which working directory the store belongs to. If it belongs to this one, nothing needs to be done.
Otherwise the records in the store are taken over, so that Snakemake makes again whatever was made
with other settings or code. A store with artifacts that have no record at all is refused.
"""

import base64
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from prunescope import progress
from prunescope.storage import seals
from prunescope.storage import store as artifacts

_RECORDS = ".records"
_OWNER = "working-directory"
_IDENTITY = "prunescope.id"
_TIMES = "times.json"

_TEXT_EMBEDDINGS = "embeddings"

_MAX_NAMES = 3
"""Number of artifacts that a message names."""


class ForeignStoreError(Exception):
    """A store holds artifacts of another working directory that have no record."""


def take_over(store: str | Path, snakemake: str | Path) -> None:
    """Take over the records of a store that belongs to another working directory, before planning.

    Parameters
    ----------
    store : folder of the artifacts, as rules name it.
    snakemake : Snakemake's folder in the working directory, `.snakemake`.

    Raises
    ------
    ForeignStoreError
        if the store belongs to another working directory and an artifact in it has no record.
    """
    folder, records = Path(store), Path(snakemake) / "metadata"
    if _owner(folder) == _identity(Path(snakemake)):
        return
    if _owner(folder) is None and any(_records_of_store(records, folder)):
        return  # made by this working directory, with a release that left no records in the store
    for record in list(_records_of_store(records, folder)):
        record.unlink()
    # Without this folder beside them, Snakemake takes the records for those of an old release.
    (Path(snakemake) / "incomplete").mkdir(parents=True, exist_ok=True)
    _copy_records(folder / _RECORDS, records, folder)
    recorded = {_artifact_path(record, records) for record in _records_of_store(records, folder)}
    unrecorded = [
        str(file) for file in files(folder) if not recorded & {str(file), *map(str, file.parents)}
    ]
    if unrecorded:
        names = ", ".join(unrecorded[:_MAX_NAMES])
        raise ForeignStoreError(
            f"{store} holds {len(unrecorded)} artifacts that were not made by this working "
            f"directory and have no record ({names}): they may have been made with other settings. "
            "Move them away, or set `pathvars: {store: …}` in config to another folder."
        )


def leave(store: str | Path, snakemake: str | Path) -> None:
    """Copy the records of the store's artifacts into the store, after a run, failed or not."""
    folder, records = Path(store), Path(snakemake) / "metadata"
    if not folder.is_dir():
        return
    copies = folder / _RECORDS
    for record in list(_records_of_store(copies, folder)):
        if not (records / record.relative_to(copies)).is_file():
            record.unlink()
    _copy_records(records, copies, folder)
    _write_times(folder)


def _write_times(folder: Path) -> None:
    """Record the time at which each artifact was last written, and its seal."""
    times = {
        str(file.relative_to(folder)): [file.stat().st_mtime_ns, seal]
        for file in files(folder)
        if (seal := seals.seal_of(file))
    }
    if times:
        artifacts.write_json(folder / _RECORDS / _TIMES, times)


def restore_times(store: str | Path) -> None:
    """Reset the modification time of artifacts with unchanged bytes to when they were written.

    This is done before planning. Snakemake takes a file that is newer than its results for a
    changed one; it compares the content of small files only. However, `touch`, `cp` without `-p`
    and some network file systems change the time of a file without changing its content.
    """
    folder = Path(store)
    times_file = folder / _RECORDS / _TIMES
    if not times_file.is_file():
        return
    try:
        times = artifacts.read_json(times_file)
    except progress.JobError:
        return  # the damaged file is set aside; without it, at worst more is made again
    for name, (time_written, seal) in times.items():
        file = folder / name
        if not file.is_file() or file.stat().st_mtime_ns == time_written:
            continue
        if seals.seal_of(file) == seal and seals.is_whole(file):
            os.utime(file, ns=(file.stat().st_atime_ns, time_written))


def claim(store: str | Path, snakemake: str | Path) -> None:
    """Record that the store now belongs to this working directory, as a run starts."""
    with artifacts.written_whole(Path(store) / _RECORDS / _OWNER) as part_file:
        part_file.write_text(_identity(Path(snakemake)), encoding="utf-8")


def _identity(snakemake: Path) -> str:
    """The unique name of this working directory, which is generated once."""
    file = snakemake / _IDENTITY
    if not file.is_file():
        with artifacts.written_whole(file) as part_file:
            part_file.write_text(uuid.uuid4().hex, encoding="utf-8")
    return file.read_text(encoding="utf-8")


def _owner(store: Path) -> str | None:
    file = store / _RECORDS / _OWNER
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _records_of_store(records: Path, store: Path) -> Iterator[Path]:
    """Those of Snakemake's records that belong to artifacts below a store."""
    for record in sorted(records.rglob("*")) if records.is_dir() else []:
        if record.is_file() and _artifact_path(record, records).startswith(f"{store}/"):
            yield record


def _artifact_path(record: Path, records: Path) -> str:
    """Path of the artifact to which a record belongs.

    The path of the record is the path of the artifact in base64, split into folders if it is long.
    """
    encoded = "".join(part.removeprefix("@") for part in record.relative_to(records).parts)
    try:
        return base64.urlsafe_b64decode(encoded).decode()
    except ValueError:
        return ""


def _copy_records(source: Path, target: Path, store: Path) -> None:
    """Copy the records of a store's artifacts that are missing from `target` or differ there.

    Parameters
    ----------
    source, target : folders of records.
    store : folder of the artifacts.
    """
    for record in _records_of_store(source, store):
        copy = target / record.relative_to(source)
        if copy.is_file() and copy.read_bytes() == record.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record, copy)


def files(store: Path) -> Iterator[Path]:
    """Artifacts of a store: files that are outputs of rules or are in an output folder of a rule.

    Left out are hidden files, text embeddings cached between jobs (each of which records what it
    depends on), and nested stores of other configs, which have their own records.
    """
    files_below = sorted(store.rglob("*")) if store.is_dir() else []
    nested_stores = {file.parent for file in files_below if file.name == _RECORDS} - {store}
    for file in files_below:
        parts = file.relative_to(store).parts
        if parts[0] == _TEXT_EMBEDDINGS or any(part.startswith(".") for part in parts):
            continue
        if nested_stores.isdisjoint(file.parents) and file.suffix in (
            ".parquet",
            ".safetensors",
            ".json",
        ):
            yield file

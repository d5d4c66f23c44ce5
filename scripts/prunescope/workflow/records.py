"""What Snakemake recorded of every artifact, kept in the store, so that it travels with it.

Snakemake compares the settings, code and inputs a job would have with those it recorded when the
job ran. It keeps these records in the working directory: a store copied from another checkout comes
without them, and an artifact without a record passes for one's own, whatever seed it was made with.
So a run leaves a copy of its records in the store, and the next run, before it plans, looks whose
store it is. Of its own it believes its own records. Of another's it takes over the records found
there, and Snakemake then makes anew what was made otherwise. An artifact no record tells of is
refused.
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

_EMBEDDINGS = "embeddings"

_SHOWN = 3
"""Artifacts that a message names."""


class ForeignStoreError(Exception):
    """A store holds what another working directory made, without a record of how."""


def take_over(store: str | Path, snakemake: str | Path) -> None:
    """Before planning: have Snakemake know what made the artifacts of a store that is not its own.

    Parameters
    ----------
    store : folder of the artifacts, as rules name it.
    snakemake : Snakemake's folder in the working directory, `.snakemake`.

    Raises
    ------
    ForeignStoreError
        if the store is another working directory's, and no record tells what made an artifact.
    """
    folder, records = Path(store), Path(snakemake) / "metadata"
    if _owner(folder) == _identity(Path(snakemake)):
        return
    if _owner(folder) is None and any(_of_store(records, folder)):
        return  # made here, by a release that left no records in the store
    for record in list(_of_store(records, folder)):
        record.unlink()
    # Snakemake takes records without this folder beside them for those of an old release.
    (Path(snakemake) / "incomplete").mkdir(parents=True, exist_ok=True)
    _copy(folder / _RECORDS, records, folder)
    known = {_decoded(record, records) for record in _of_store(records, folder)}
    unknown = [str(f) for f in files(folder) if not known & {str(f), *map(str, f.parents)}]
    if unknown:
        named = ", ".join(unknown[:_SHOWN])
        raise ForeignStoreError(
            f"{store} holds {len(unknown)} artifacts that this working directory did not make and "
            f"no record tells of ({named}): they may come from other settings. Move them away, or "
            "set `pathvars: {store: …}` in config to another folder."
        )


def leave(store: str | Path, snakemake: str | Path) -> None:
    """After a run, failed or not: copy the records of the store's artifacts into the store."""
    folder, records = Path(store), Path(snakemake) / "metadata"
    if not folder.is_dir():
        return
    kept = folder / _RECORDS
    for record in list(_of_store(kept, folder)):
        if not (records / record.relative_to(kept)).is_file():
            record.unlink()
    _copy(records, kept, folder)
    _leave_times(folder)


def _leave_times(folder: Path) -> None:
    """When each artifact was last written, and the seal it had."""
    times = {
        str(file.relative_to(folder)): [file.stat().st_mtime_ns, seal]
        for file in files(folder)
        if (seal := seals.seal_of(file))
    }
    if times:
        artifacts.write_json(folder / _RECORDS / _TIMES, times)


def restore_times(store: str | Path) -> None:
    """Before planning: give artifacts of unchanged bytes the time back at which they were written.

    Snakemake takes a file that is newer than what was made from it for a changed one, and looks
    at the contents of small files only. `touch`, `cp` without `-p` and some network file systems
    change times alone.
    """
    folder = Path(store)
    kept = folder / _RECORDS / _TIMES
    if not kept.is_file():
        return
    try:
        times = artifacts.read_json(kept)
    except progress.JobError:
        return  # set aside: times as they are decide, and at worst more is made again
    for name, (written, seal) in times.items():
        file = folder / name
        if not file.is_file() or file.stat().st_mtime_ns == written:
            continue
        if seals.seal_of(file) == seal and seals.is_whole(file):
            os.utime(file, ns=(file.stat().st_atime_ns, written))


def claim(store: str | Path, snakemake: str | Path) -> None:
    """As a run starts: from now on the store is this working directory's."""
    with artifacts.written_whole(Path(store) / _RECORDS / _OWNER) as part:
        part.write_text(_identity(Path(snakemake)), encoding="utf-8")


def _identity(snakemake: Path) -> str:
    """A name of this working directory that no other has, made once."""
    file = snakemake / _IDENTITY
    if not file.is_file():
        with artifacts.written_whole(file) as part:
            part.write_text(uuid.uuid4().hex, encoding="utf-8")
    return file.read_text(encoding="utf-8")


def _owner(store: Path) -> str | None:
    file = store / _RECORDS / _OWNER
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _of_store(records: Path, store: Path) -> Iterator[Path]:
    """Records of artifacts below a store."""
    for record in sorted(records.rglob("*")) if records.is_dir() else []:
        if record.is_file() and _decoded(record, records).startswith(f"{store}/"):
            yield record


def _decoded(record: Path, records: Path) -> str:
    """The artifact a record is of: its path in base64, cut into folders where it is long."""
    encoded = "".join(part.removeprefix("@") for part in record.relative_to(records).parts)
    try:
        return base64.urlsafe_b64decode(encoded).decode()
    except ValueError:
        return ""


def _copy(source: Path, target: Path, store: Path) -> None:
    """Copy records that are not there, or are there in another version."""
    for record in _of_store(source, store):
        copy = target / record.relative_to(source)
        if copy.is_file() and copy.read_bytes() == record.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record, copy)


def files(store: Path) -> Iterator[Path]:
    """Artifacts of a store: every file that rules name, or that lies in a folder they name.

    Left out are hidden files, embeddings kept between jobs (each holds what decides it), and stores
    within the store, which have records of their own: another config keeps its results there.
    """
    found = sorted(store.rglob("*")) if store.is_dir() else []
    nested = {file.parent for file in found if file.name == _RECORDS} - {store}
    for file in found:
        parts = file.relative_to(store).parts
        if parts[0] == _EMBEDDINGS or any(part.startswith(".") for part in parts):
            continue
        if nested.isdisjoint(file.parents) and file.suffix in (".parquet", ".safetensors", ".json"):
            yield file

"""Keep Snakemake's records of all artifacts in the store, so that they are copied along with it.

Snakemake compares the settings, code and inputs that a job would have with those that it recorded
when the job ran. It keeps these records in the working directory. A store that is copied from
another checkout therefore lacks them, and Snakemake takes an artifact without a record for up to
date, whatever seed or settings it was made with.

Each run therefore leaves a copy of its records in the store. Before the next run plans, it checks
which working directory the store belongs to. If it belongs to another one, the records in the store
are taken over, so that Snakemake makes again whatever was made with other settings or code. A store
of another directory with artifacts that have no record at all is refused.

In a store of this directory, too, an artifact may have lost its record, because a power cut came
before the record was on the disk, or may have been replaced by one from elsewhere. Such artifacts
are marked as incomplete, so that Snakemake makes them again.
"""

import base64
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.storage import seals
from prunescope.storage import store as artifacts

_RECORDS = ".records"
_OWNER = "working-directory"
_IDENTITY = "prunescope.id"
_TIMES = "times.json"
_RUN = "run"

_TEXT_EMBEDDINGS = "embeddings"

_MAX_NAMES = 3
"""Number of artifacts that a message names."""


class ForeignStoreError(Exception):
    """A store holds artifacts of another working directory that have no record."""


class ChangedStoreError(Exception):
    """Another run has worked on a store while this one planned."""


def is_foreign(store: str | Path, snakemake: str | Path) -> bool:
    """Whether the last run on a store was started in another working directory."""
    return _owner(Path(store)) not in (None, _identity(Path(snakemake)))


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
    if _owner(folder) is None and any(_records_below(records, folder)):
        return  # made by this working directory, with a release that left no records in the store
    for record in list(_records_below(records, folder)):
        record.unlink()
    # Without this folder beside them, Snakemake takes the records for those of an old release.
    (Path(snakemake) / "incomplete").mkdir(parents=True, exist_ok=True)
    _copy_records(folder / _RECORDS, records, folder)
    _remove_unreadable(records)
    recorded = _recorded(records, folder)
    unrecorded = [str(file) for file in files(folder) if recorded.isdisjoint(_with_folders(file))]
    if unrecorded:
        names = ", ".join(unrecorded[:_MAX_NAMES])
        raise ForeignStoreError(
            f"{store} holds {len(unrecorded)} artifacts that were not made by this working "
            f"directory and have no record ({names}): they may have been made with other settings. "
            "If a run in another directory made them and was killed, run it there to its end. "
            "Otherwise move them away, or set `pathvars: {store: …}` in config to another folder."
        )


def leave(store: str | Path, snakemake: str | Path) -> None:
    """Copy the records of the store's artifacts into the store, after a run, failed or not."""
    folder, records = Path(store), Path(snakemake) / "metadata"
    if not folder.is_dir():
        return
    copies = folder / _RECORDS
    for record in list(_records_below(copies, folder)):
        if not (records / record.relative_to(copies)).is_file():
            record.unlink()
    _copy_records(records, copies, folder)
    _write_times(folder)
    _write_run(folder, _ENDED)


def doubt(store: str | Path, results: str | Path, snakemake: str | Path) -> list[str]:
    """Warn of artifacts if nothing tells what made them, and mark them; returns their paths.

    This is done before planning, after `take_over`. Snakemake takes them for incomplete and makes
    them again. They are:

    - artifacts of the store, figures, the page and exported checkpoints without a readable record;
    - artifacts of the store that were replaced or added since the last run ended. A run that was
      killed has not recorded what it made, so that after such a run only Snakemake's records count.

    Parameters
    ----------
    store, results : folders of the artifacts, as rules name them.
    snakemake : Snakemake's folder in the working directory, `.snakemake`.
    """
    folder, records = Path(store), Path(snakemake) / "metadata"
    incomplete = Path(snakemake) / "incomplete"
    _remove_unreadable(records)
    recorded = _recorded(records, folder) | _recorded(records, Path(results))
    marked = {_artifact_path(mark, incomplete) for mark in _files_below(incomplete)}
    replaced = _replaced(folder)
    doubtful = [
        file
        for file in [*_outputs(folder), *_results(Path(results))]
        if marked.isdisjoint(_with_folders(file))
        and (file in replaced or recorded.isdisjoint(_with_folders(file)))
    ]
    for file in doubtful:
        for output in (file, file.parent):  # one of them is an output of the rule
            (records / _record_name(str(output))).unlink(missing_ok=True)
            mark = incomplete / _record_name(str(output))
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text("{}", encoding="utf-8")
    if doubtful:
        names = ", ".join(map(str, doubtful[:_MAX_NAMES]))
        progress.warn(
            f"no record tells what made {len(doubtful)} artifacts ({names}): they were replaced, "
            "or a power cut took the record. Those that this run needs are made again."
        )
    return list(map(str, doubtful))


def _outputs(store: Path) -> Iterator[Path]:
    """Artifacts of a store that are, or are in, outputs of rules: a key is in their path."""
    for file in files(store):
        if any("=" in part for part in file.relative_to(store).parts):
            yield file
    yield from store.glob("*.duckdb")


def _results(results: Path) -> Iterator[Path]:
    """Figures, the page and exported checkpoints in a folder of results."""
    yield from results.glob("figures/*.json")
    yield from results.glob("exports/*/*/prunescope.json")
    for page in results.glob("report.html"):
        if page.stat().st_mtime:  # 0 is the time of the page of a failed run, which has no record
            yield page


def _replaced(store: Path) -> set[Path]:
    """Artifacts whose seal is not the one that they had when the last run ended.

    The set is empty if the last run was killed. Damaged files that still carry their seal are left
    to the jobs that read them.
    """
    times = _read_times(store)
    if times is None or not run_state(store).endswith(_ENDED):
        return set()
    replaced = set()
    for file in files(store):
        time_written, seal_written = times.get(str(file.relative_to(store)), (None, None))
        is_as_written = not file.is_file() or file.stat().st_mtime_ns == time_written
        if not is_as_written and seals.seal_of(file) != seal_written:
            replaced.add(file)
    return replaced


def _write_times(folder: Path) -> None:
    """Record the time at which each artifact was last written, and its seal."""
    times = {
        str(file.relative_to(folder)): [file.stat().st_mtime_ns, seal]
        for file in files(folder)
        if file.is_file() and (seal := seals.seal_of(file))  # a link may lead nowhere
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
    for name, (time_written, seal) in (_read_times(folder) or {}).items():
        file = folder / name
        if not file.is_file() or file.stat().st_mtime_ns == time_written:
            continue
        if seals.seal_of(file) == seal and seals.is_whole(file):
            os.utime(file, ns=(file.stat().st_atime_ns, time_written))


def _read_times(store: Path) -> dict[str, Any] | None:
    """Time and seal of each artifact at the end of the last run; None if they are not known."""
    try:
        return artifacts.read_json(store / _RECORDS / _TIMES)
    except (FileNotFoundError, progress.JobError):
        return None  # a damaged file is set aside; without it, at worst more is made again


def claim(store: str | Path, snakemake: str | Path) -> None:
    """Record that the store now belongs to this working directory, as a run starts."""
    _write_text(Path(store) / _RECORDS / _OWNER, _identity(Path(snakemake)))
    _write_run(Path(store), _STARTED)


def run_state(store: str | Path) -> str:
    """A text that every run on the store changes as it starts and as it ends."""
    file = Path(store) / _RECORDS / _RUN
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def check_unchanged(store: str | Path, planned_on: str | None) -> None:
    """Raise ChangedStoreError if another run has worked on the store since this one planned.

    Parameters
    ----------
    store : folder of the artifacts; this run has locked it.
    planned_on : the `run_state` of the store before planning; None if another run was under way.
    """
    if run_state(store) != planned_on:
        raise ChangedStoreError(
            f"another run has worked on {store} while this one planned, so that the plan may be "
            "wrong. Run the same command again."
        )


def _write_run(store: Path, state: str) -> None:
    _write_text(store / _RECORDS / _RUN, f"{uuid.uuid4().hex} {state}")


_STARTED, _ENDED = "started", "ended"


def _write_text(file: Path, text: str) -> None:
    with artifacts.written_whole(file) as part_file:
        part_file.write_text(text, encoding="utf-8")


def _identity(snakemake: Path) -> str:
    """The unique name of this working directory, which is generated once.

    A copy of the directory gets another name: its `.snakemake` has neither the path nor the inode
    at which the name was generated.
    """
    file = snakemake / _IDENTITY
    snakemake.mkdir(parents=True, exist_ok=True)
    path, inode = str(snakemake.resolve()), str(snakemake.stat().st_ino)
    content = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    name, *generated_at = content.split("\n")
    if not name or (generated_at and generated_at[0] != path and generated_at[1:] != [inode]):
        name = uuid.uuid4().hex
    if content.split("\n")[:1] != [name] or not generated_at:
        _write_text(file, "\n".join((name, path, inode)))
    return name


def _owner(store: Path) -> str | None:
    file = store / _RECORDS / _OWNER
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None


def _records_below(records: Path, folder: Path) -> Iterator[Path]:
    """Those of Snakemake's records that belong to artifacts below a folder."""
    for record in _files_below(records):
        if _artifact_path(record, records).startswith(f"{folder}/"):
            yield record


def _files_below(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file()]


def _recorded(records: Path, folder: Path) -> set[str]:
    """Paths of the artifacts below a folder that have a record."""
    return {_artifact_path(record, records) for record in _records_below(records, folder)}


def _remove_unreadable(records: Path) -> None:
    """Remove records that are damaged, or of an earlier format.

    Snakemake takes an artifact with such a record for up to date, whatever made it.
    """
    from snakemake.persistence import RECORD_FORMAT_VERSION

    for record in _files_below(records):
        try:
            is_readable = json.loads(record.read_bytes())["record_format_version"] >= (
                RECORD_FORMAT_VERSION
            )
        except (ValueError, LookupError, TypeError):
            is_readable = False
        if not is_readable:
            record.unlink()


def _with_folders(file: Path) -> set[str]:
    """The paths of a file and of the folders that it is in, one of which is a rule's output."""
    return {str(file), *map(str, file.parents)}


def _artifact_path(record: Path, records: Path) -> str:
    """Path of the artifact to which a record belongs.

    The path of the record is the path of the artifact in base64, split into folders if it is long.
    """
    encoded = "".join(part.removeprefix("@") for part in record.relative_to(records).parts)
    try:
        return base64.urlsafe_b64decode(encoded).decode()
    except ValueError:
        return ""


def _record_name(artifact: str) -> Path:
    """Path of the record of an artifact, relative to the folder of the records."""
    encoded, length = base64.urlsafe_b64encode(artifact.encode()).decode(), _MAX_NAME_LENGTH - 1
    *folders, name = (encoded[i : i + length] for i in range(0, len(encoded), length))
    return Path(*(f"@{part}" for part in folders), name)


_MAX_NAME_LENGTH = 255
"""Number of characters after which Snakemake continues the name of a record in a folder."""


def _copy_records(source: Path, target: Path, store: Path) -> None:
    """Copy the records of a store's artifacts that are missing from `target` or differ there.

    Parameters
    ----------
    source, target : folders of records.
    store : folder of the artifacts.
    """
    for record in _records_below(source, store):
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

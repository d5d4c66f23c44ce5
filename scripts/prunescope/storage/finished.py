"""Keep the finished parts of a long job beside its output, so that a killed job can resume."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope.finite import REMEDY, NotFinite
from prunescope.progress import LOG, JobError
from prunescope.storage import store


def folder(output_file: str | Path) -> Path:
    """The folder that keeps the parts of the job with this output until the output is written."""
    return Path(output_file).with_name(f".{Path(output_file).name}.finished")


def file(output_file: str | Path, name: str, decides: Mapping[str, object]) -> Path:
    """The file that keeps one part.

    Parameters
    ----------
    output_file : the output of the job.
    name : name of the part, for messages.
    decides : everything that decides the result, besides the versions of packages; if any of it or
        any version changes, so does the file's name.
    """
    return folder(output_file) / f"{name}-{digest({**decides, 'versions': store.versions()})}.json"


def taken_over(part_file: Path) -> Any:
    """The result of a part that an interrupted run had finished; None if there is none."""
    if not part_file.is_file():
        return None
    try:
        result = store.read_json(part_file)["result"]
    except JobError as error:
        LOG.warning("this part is computed again: %s", error)
        return None
    LOG.info("%s: result taken from an interrupted run", part_file.name.rpartition("-")[0])
    return result


def keep(part_file: Path, result: object) -> None:
    """Write the result of a part; the file is complete or absent.

    Raises
    ------
    NotFinite
        if the result contains a NaN or an infinity, which no valid score or text does.
    """
    try:
        store.write_json(part_file, {"result": result})
    except ValueError as error:
        part_name = part_file.name.rpartition("-")[0]
        raise NotFinite(
            f"{part_name}: a result is NaN or infinite, and therefore invalid. {REMEDY}"
        ) from error


def digest(parts: Mapping[str, object]) -> str:
    """A short digest of everything that decides a result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

"""Finished parts of a job that may be killed: kept beside its output for the next run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope.finite import WAY_OUT, NotFinite
from prunescope.progress import LOG, JobError
from prunescope.storage import store


def folder(output_file: str | Path) -> Path:
    """Where the parts of the job with this output are kept until the output is written."""
    return Path(output_file).with_name(f".{Path(output_file).name}.finished")


def file(output_file: str | Path, name: str, decides: Mapping[str, object]) -> Path:
    """Where one part is kept: under another name if anything that decides its result is another."""
    return folder(output_file) / f"{name}-{digest(decides)}.json"


def taken_over(kept: Path) -> Any:
    """The result of a part that an interrupted run had finished, or None."""
    if not kept.is_file():
        return None
    try:
        result = store.read_json(kept)["result"]
    except JobError as error:
        LOG.warning("computed again: %s", error)
        return None
    LOG.info("%s: taken over from an interrupted run", kept.name.rpartition("-")[0])
    return result


def keep(kept: Path, result: object) -> None:
    """Keep the result of a part, whole or not at all.

    Raises
    ------
    NotFinite
        if it holds a NaN or an infinity, which no score and no text is.
    """
    try:
        store.write_json(kept, {"result": result})
    except ValueError as error:
        part = kept.name.rpartition("-")[0]
        raise NotFinite(f"{part}: a result is NaN or infinite, so it is none. {WAY_OUT}") from error


def digest(parts: Mapping[str, object]) -> str:
    """A short name for what decides a result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

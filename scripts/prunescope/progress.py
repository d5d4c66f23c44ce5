"""What a person sees of a job: a bar on a terminal, lines in its log, how long it took."""

import contextlib
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

LOG = logging.getLogger("prunescope")

RUN_PROCESS = "PRUNESCOPE_RUN"
"""Environment variable: the process of the run, for jobs on the same machine."""

_Item = TypeVar("_Item")


class JobError(Exception):
    """A failure the user can mend; its message is one line and says how."""


@contextlib.contextmanager
def job(name: str, log_file: str) -> Iterator[None]:
    """Run one job: its messages and any traceback go to `log_file`, a failure ends in one line.

    Raises SystemExit(1) after a failure, so that Snakemake drops the job's outputs.
    """
    _end_with_its_run(log_file)
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_file, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    LOG.setLevel(logging.INFO)
    began = time.perf_counter()
    try:
        yield
    except Exception as error:
        LOG.exception("failed after %.1f s", time.perf_counter() - began)
        known = isinstance(error, (JobError, ValueError, OSError))
        line = str(error) if known else f"{type(error).__name__}: {error}"
        print(f"\nprunescope: {name}: {line} (log: {log_file})", file=sys.stderr)
        raise SystemExit(1) from None
    LOG.info("took %.1f s", time.perf_counter() - began)
    logging.getLogger().removeHandler(handler)


def _end_with_its_run(log_file: str) -> None:
    """Have this process end when the run that started it is gone.

    A Snakemake that is killed leaves its jobs running: they would take the cores and the memory of
    the next run. Jobs on other machines have no such run to look at, and go on.
    """
    run = os.environ.get(RUN_PROCESS)
    if run is None or not hasattr(os, "pidfd_open"):
        return
    try:
        handle = os.pidfd_open(int(run))
    except ProcessLookupError:
        raise SystemExit(f"prunescope: the run of this job, process {run}, has ended.") from None

    def wait() -> None:
        select.select([handle], [], [])
        LOG.error("ended: the run of this job, process %s, was killed (log: %s)", run, log_file)
        os._exit(1)

    threading.Thread(target=wait, name="end with the run", daemon=True).start()


def warn(message: str) -> None:
    """Say something in the log and to whoever watches, and go on."""
    LOG.warning(message)
    print(f"\nprunescope: {message}", file=sys.stderr)


def track(items: Iterable[_Item], what: str, total: int | None = None) -> Iterator[_Item]:
    """Yield `items` with a bar on a terminal, and a line in the log every five seconds."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    said = time.monotonic()
    bar = tqdm(items, what, total, disable=not sys.stderr.isatty(), leave=False)
    for done, item in enumerate(bar, start=1):
        yield item
        if time.monotonic() - said > 5 or done == total:
            said = time.monotonic()
            LOG.info("%s: %d of %s", what, done, total if total is not None else "?")

"""What a user sees of a job: a progress bar on a terminal and lines in its log."""

import contextlib
import faulthandler
import logging
import os
import resource
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
"""Environment variable with the process id of the run, for jobs on the same machine."""

_Item = TypeVar("_Item")


class JobError(Exception):
    """A failure that the user can fix; its message is a single line that says how."""


@contextlib.contextmanager
def job(name: str, log_file: str) -> Iterator[None]:
    """Run one job: messages and tracebacks go to `log_file`, a failure prints a single line.

    The log also tells where a signal such as SIGSEGV ended the job.

    Raises SystemExit(1) after a failure, so that Snakemake deletes the outputs of the job.
    """
    _end_with_run(log_file)
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_file, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    LOG.setLevel(logging.INFO)
    faulthandler.enable(handler.stream or sys.stderr)
    if limited := limited_memory():
        LOG.warning(limited)
    start = time.perf_counter()
    try:
        yield
    except Exception as error:
        LOG.exception("failed after %.1f s", time.perf_counter() - start)
        has_clear_message = isinstance(error, (JobError, ValueError, OSError))
        words = " ".join(str(error).split())
        line = words if has_clear_message else f"{type(error).__name__}: {words}"
        print(f"\nprunescope: {name}: {line} (log: {log_file})", file=sys.stderr)
        raise SystemExit(1) from None
    LOG.info("took %.1f s", time.perf_counter() - start)
    faulthandler.disable()
    logging.getLogger().removeHandler(handler)


def limited_memory(needed_mb: float = float("inf")) -> str:
    """What a limit of the address space means for jobs; empty if there is none.

    Libraries that are refused memory may end by a signal or wait for ever instead of raising an
    error, so that this has to be said beforehand.

    Parameters
    ----------
    needed_mb : limits of at least so many MB are none.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= needed_mb * 1e6:
        return ""
    return (
        f"this shell limits the address space of a process to {limit / 1e6:.0f} MB (ulimit -v). A "
        "job that needs more may end by SIGSEGV, or not at all. Run `ulimit -v unlimited` first, "
        "or choose a smaller model."
    )


def _end_with_run(log_file: str) -> None:
    """Make this process end as soon as the run that started it has ended.

    If Snakemake is killed, its jobs keep running and would take cores and memory from the next run.
    Jobs on other machines cannot observe the process of the run and are not affected.
    """
    run_process = os.environ.get(RUN_PROCESS)
    if run_process is None or not hasattr(os, "pidfd_open"):
        return
    try:
        handle = os.pidfd_open(int(run_process))
    except ProcessLookupError:
        raise SystemExit(
            f"prunescope: the run of this job, process {run_process}, has ended."
        ) from None

    def wait() -> None:
        select.select([handle], [], [])
        LOG.error(
            "ended because the run of this job, process %s, was killed (log: %s)",
            run_process,
            log_file,
        )
        os._exit(1)

    threading.Thread(target=wait, name="end with the run", daemon=True).start()


def warn(message: str) -> None:
    """Write a message to the log and to standard error, and continue."""
    LOG.warning(message)
    print(f"\nprunescope: {message}", file=sys.stderr)


def track(items: Iterable[_Item], what: str, total: int | None = None) -> Iterator[_Item]:
    """Yield `items` with a progress bar on a terminal and a line in the log every five seconds.

    Parameters
    ----------
    items : what to iterate over.
    what : names the activity in the bar and the log, for instance "hashing".
    total : number of items, if known; by default the length of `items` if it has one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    last_logged = time.monotonic()
    bar = tqdm(items, what, total, disable=not sys.stderr.isatty(), leave=False)
    for done, item in enumerate(bar, start=1):
        yield item
        if time.monotonic() - last_logged > 5 or done == total:
            last_logged = time.monotonic()
            LOG.info("%s: %d of %s", what, done, total if total is not None else "?")

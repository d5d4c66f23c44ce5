"""Find the jobs that a failed run stopped at."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

_Job = TypeVar("_Job")


def stopped_at(
    job: _Job, needs: Callable[[_Job], Iterable[_Job]], unfinished: Collection[_Job]
) -> list[_Job]:
    """Unfinished jobs that `job` waits for, directly or indirectly, and whose own inputs exist.

    These jobs have failed, or were not started because the run ended first. If the inputs of `job`
    itself all exist, it is the only one.

    Parameters
    ----------
    job : an unfinished job.
    needs : returns the jobs whose outputs a job reads.
    unfinished : all jobs of the run that have not finished.
    """
    visited: set[_Job] = set()

    def walk(current: _Job) -> Iterator[_Job]:
        if current in visited:
            return
        visited.add(current)
        waits_for = [needed for needed in needs(current) if needed in unfinished]
        if not waits_for:
            yield current
        for needed in waits_for:
            yield from walk(needed)

    return list(walk(job))

"""What a run that failed leaves unmade, and which jobs that is waiting for."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

_Job = TypeVar("_Job")


def stopped_at(
    job: _Job, needs: Callable[[_Job], Iterable[_Job]], unfinished: Collection[_Job]
) -> list[_Job]:
    """Unfinished jobs that `job` waits for and that wait for none themselves.

    These failed, or were never started because the run ended first. An unfinished job whose inputs
    are all there is one of them itself.

    Parameters
    ----------
    needs : the jobs whose outputs a job reads.
    unfinished : jobs of the run that did not come to their end.
    """
    seen: set[_Job] = set()

    def walk(at: _Job) -> Iterator[_Job]:
        if at in seen:
            return
        seen.add(at)
        waits_for = [each for each in needs(at) if each in unfinished]
        if not waits_for:
            yield at
        for each in waits_for:
            yield from walk(each)

    return list(walk(job))

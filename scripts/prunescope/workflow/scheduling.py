"""Keep Snakemake's scheduler from waking itself more and more often."""

from typing import Any

_DEFAULT_LIMIT = (100, 1)
"""Jobs per seconds of `--max-jobs-per-timespan`, where nobody asked for another limit."""


def without_default_rate_limit(workflow: Any) -> None:
    """Take away Snakemake's default limit on the jobs that start within a second.

    With a limit, every pass of Snakemake's scheduler (9.27) starts a timer that leads to another
    pass, and every finished job adds a pass of its own. After 70 jobs there are 70 passes a
    second, which took 27 % of a core (AMD EPYC, 28 November 2026). A limit that someone asked for
    stays.

    Parameters
    ----------
    workflow : Snakemake's workflow, just before its jobs start.
    """
    scheduler = workflow.scheduler
    limiter = scheduler.job_rate_limiter
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == _DEFAULT_LIMIT:
        scheduler.job_rate_limiter = None

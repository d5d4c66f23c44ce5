"""What a Slurm cluster offers, and what the jobs of this workflow ask of it.

`sinfo` lists the shapes of nodes in every partition. A job asks for a share of what config allows
under `limits`; each further attempt asks for as much again, up to the limit and up to the shape
that the first attempt would run on. A first request that no shape can serve is refused before
anything is submitted: Slurm itself would let it wait for ever.
"""

import math
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

LEAST_MEMORY_MB = 1000
"""Snakemake runs twice in every job, beside the libraries that the job imports."""

_SINFO = ("sinfo", "--noheader", "--exact", "--format=%P|%a|%l|%c|%m|%G")


class ClusterError(Exception):
    """The cluster cannot run the workflow; the message says what it offers and what to change."""


class Shape(NamedTuple):
    """Nodes of one kind in one partition; `minutes` is infinite without a time limit."""

    partition: str
    is_default: bool
    minutes: float
    cpus: int
    memory_mb: int
    gpus: int


class Request(NamedTuple):
    """What one job asks of one node."""

    cpus: int
    memory_mb: int
    minutes: int
    gpus: int


class Need(NamedTuple):
    """What a kind of rule needs: shares of the limits at its first attempt, and GPUs."""

    memory: float
    runtime: float
    gpus: int


NEEDS = {
    "light": Need(memory=1 / 8, runtime=1 / 4, gpus=0),
    "model": Need(memory=1 / 2, runtime=1 / 4, gpus=1),
    "long": Need(memory=1 / 2, runtime=1 / 2, gpus=1),
}
"""Rules that load no model, that run one, and that run one over whole benchmarks."""


def shapes(partition: str | None = None) -> list[Shape]:
    """Shapes that the cluster offers, the default partition's first; or those of one partition.

    Raises
    ------
    ClusterError
        if sinfo does not answer or lists nothing.
    """
    try:
        run = subprocess.run(_SINFO, capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError:
        raise ClusterError("slurm: there is no sinfo here. Start from a login node.") from None
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"slurm: sinfo failed: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise ClusterError("slurm: sinfo did not answer within 60 s.") from None
    offered = parse_sinfo(run.stdout)
    chosen = [shape for shape in offered if partition in (None, shape.partition)]
    if not chosen:
        names = ", ".join(dict.fromkeys(shape.partition for shape in offered)) or "none"
        raise ClusterError(
            f"slurm: there is no partition {partition or 'that is up'}. There are: {names}."
        )
    return chosen


def parse_sinfo(text: str) -> list[Shape]:
    """Shapes of partitions that are up, from sinfo's lines, the default partition's first."""
    rows = [line.strip().split("|") for line in text.splitlines() if line.strip()]
    offered = [
        Shape(
            partition=name.rstrip("*"),
            is_default=name.endswith("*"),
            minutes=_minutes(limit),
            cpus=int(cpus.rstrip("+")),
            memory_mb=int(memory.rstrip("+")),
            gpus=_n_gpus(gres),
        )
        for name, state, limit, cpus, memory, gres in rows
        if state == "up"
    ]
    return sorted(dict.fromkeys(offered), key=lambda shape: not shape.is_default)


def _minutes(limit: str) -> float:
    """Minutes of `days-hours:minutes:seconds`, whose front parts may be missing."""
    if limit in ("infinite", "UNLIMITED"):
        return math.inf
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = [0, 0, *map(int, clock.split(":"))][-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _n_gpus(gres: str) -> int:
    """Devices named gpu in a list such as `gpu:a100:4(S:0-1),shard:8`."""
    entries = re.sub(r"\([^)]*\)", "", gres).split(",")
    counts = [entry.split(":")[-1] for entry in entries if entry.split(":")[0] == "gpu"]
    return sum(int(count) if count.isdigit() else 1 for count in counts)


def can_serve(shape: Shape, request: Request) -> bool:
    """Say whether the request is within what a node of this shape has."""
    return (
        request.cpus <= shape.cpus
        and request.memory_mb <= shape.memory_mb
        and request.minutes <= shape.minutes
        and request.gpus <= shape.gpus
    )


def first_request(
    need: Need, cpus: int, limits: Mapping[str, int], offered: Sequence[Shape]
) -> Request:
    """What a job asks for at its first attempt: a GPU only where one is offered and allowed."""
    memory = max(LEAST_MEMORY_MB, int(need.memory * limits["mem_mb"]))
    has_gpu = any(shape.gpus for shape in offered)
    return Request(
        cpus=cpus,
        memory_mb=min(memory, limits["mem_mb"]),
        minutes=max(1, int(need.runtime * limits["runtime"])),
        gpus=min(need.gpus, limits["gpu"]) if has_gpu else 0,
    )


def node_for(request: Request, offered: Sequence[Shape]) -> Shape | None:
    """The first shape that serves a request; nodes with a GPU come last for one without."""
    serving = [shape for shape in offered if can_serve(shape, request)]
    return min(serving, key=lambda shape: not request.gpus and shape.gpus > 0, default=None)


def grown(
    first: Request, attempt: int, limits: Mapping[str, int], offered: Sequence[Shape]
) -> Request:
    """The request of a later attempt: as much again each time, as far as limits and nodes allow.

    The nodes are those of the partition that the first attempt runs in.
    """
    node = node_for(first, offered)
    serving = [
        shape
        for shape in offered
        if node and shape.partition == node.partition and can_serve(shape, first)
    ]
    largest = max(serving, key=lambda shape: shape.memory_mb, default=None)
    most_memory = min(limits["mem_mb"], largest.memory_mb if largest else limits["mem_mb"])
    most_minutes = min(limits["runtime"], largest.minutes if largest else limits["runtime"])
    return first._replace(
        memory_mb=max(first.memory_mb, min(first.memory_mb * attempt, most_memory)),
        minutes=max(first.minutes, int(min(first.minutes * attempt, most_minutes))),
    )


def most_cpus(need: Need, limits: Mapping[str, int], offered: Sequence[Shape]) -> int:
    """CPUs of the largest node that serves such a job: what a rule that runs alone takes."""
    least = first_request(need, 1, limits, offered)
    return max((shape.cpus for shape in offered if can_serve(shape, least)), default=1)


def refusals(requests: Iterable[tuple[str, Request]], offered: Sequence[Shape]) -> Iterator[str]:
    """One line for every rule whose request no node can serve, with the numbers of both."""
    for rule, request in dict.fromkeys(requests):
        if node_for(request, offered) is None:
            yield (
                f"slurm: {rule} asks for {_described(request)}, but no partition serves that. "
                f"There are: {'; '.join(map(_offer, offered))}. Lower limits/mem_mb, "
                "limits/runtime, limits/gpu or threads in config, or name another partition."
            )


def _described(request: Request) -> str:
    gpus = f", {request.gpus} GPU" if request.gpus else ""
    return f"{request.cpus} CPUs, {request.memory_mb} MB of memory, {request.minutes} minutes{gpus}"


def _offer(shape: Shape) -> str:
    minutes = "any number of" if math.isinf(shape.minutes) else f"{shape.minutes:g}"
    return (
        f"{shape.partition} with {shape.cpus} CPUs, {shape.memory_mb} MB, {minutes} minutes, "
        f"{shape.gpus} GPUs"
    )


# ---- what snakemake-executor-plugin-slurm 2.8.0 leaves to be mended --------------------------

_MEMORY_KILL = re.compile(
    r"oom[-_ ]?kill|out[-_ ]of[-_ ]memory|exceeded (?:job |step )?memory limit", re.IGNORECASE
)


def is_memory_kill(message: str, log: str) -> bool:
    """Say whether Slurm's state, or what it wrote into the job's log, tells that memory ran out."""
    return _MEMORY_KILL.search(f"{message}\n{log}") is not None


def explained(message: str, memory_mb: object, log: str) -> str:
    """The plugin's message of a failed job, with a sentence in front where memory ran out."""
    if not is_memory_kill(message, log):
        return message
    return (
        f"Slurm killed the job because it used more memory than the {memory_mb} MB that it asked "
        "for. A further attempt asks for more, up to limits/mem_mb in config and to what a node "
        f"has. {message} "
    )


def mend_executor() -> None:
    """Change three things in the plugin, in this process.

    An interrupt cancels the jobs by the name of the run, so that one just submitted goes, too, and
    does not wait for the thread that sleeps up to three minutes between two status checks; that
    thread ends with the process. A memory kill is called one. An account that nobody named is left
    to Slurm: the plugin's guess passes a pipe to sacct, which answers with its usage.
    """
    import snakemake_executor_plugin_slurm as plugin

    report = plugin.Executor.report_job_error

    def cancel(self: Any) -> None:
        self._job_submission_executor.shutdown(wait=True)
        with self.lock:
            self.wait = False
        subprocess.run(["scancel", "--name", self.run_uuid], check=False, timeout=60)

    def report_job_error(self: Any, job_info: Any, msg: str | None = None, **kwargs: Any) -> None:
        logs = [_text(file) for file in kwargs.get("aux_logs") or []]
        memory_mb = job_info.job.resources.get("mem_mb")
        report(self, job_info, msg=explained(msg or "", memory_mb, "\n".join(logs)), **kwargs)

    plugin.Executor.cancel = cancel
    plugin.Executor.report_job_error = report_job_error
    plugin.get_account = lambda logger: None


def _text(file: str | None) -> str:
    """What a job's Slurm log holds; an empty text where there is none."""
    if file is None:
        return ""
    path = Path(file)
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

"""The nodes that a Slurm cluster offers, and the resources that jobs of this workflow request.

`sinfo` lists the shapes of nodes (CPUs, memory, GPUs and time limit) in every partition. The first
attempt of a job requests a share of what config allows under `limits`. Each further attempt adds
the same amount again, up to the limit and up to what a node of the same partition has. If no node
can satisfy a first request, the run is refused before anything is submitted; Slurm itself would
let the job wait forever.
"""

import math
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

LEAST_MEMORY_MB = 1000
"""Smallest request of memory, in MB.

Every job runs Snakemake twice, in addition to the libraries that it imports.
"""

_SINFO = ("sinfo", "--noheader", "--exact", "--format=%P|%a|%l|%c|%m|%G")


class ClusterError(Exception):
    """The cluster cannot run the workflow; the message says what it offers and what to change."""


class Shape(NamedTuple):
    """Nodes of the same kind in one partition; `minutes` is infinite if there is no time limit."""

    partition: str
    is_default: bool
    minutes: float
    cpus: int
    memory_mb: int
    gpus: int


class Request(NamedTuple):
    """The resources that a job requests of a node."""

    cpus: int
    memory_mb: int
    minutes: int
    gpus: int


class Need(NamedTuple):
    """What a kind of rule requests at its first attempt."""

    memory: float
    """Share of the memory limit."""
    runtime: float
    """Share of the time limit."""
    gpus: int
    """Number of GPUs."""


NEEDS = {
    "light": Need(memory=1 / 8, runtime=1 / 4, gpus=0),
    "model": Need(memory=1 / 2, runtime=1 / 4, gpus=1),
    "long": Need(memory=1 / 2, runtime=1 / 2, gpus=1),
}
"""Needs of rules that load no model, that run a model, and that run it on whole benchmarks."""


def shapes(partition: str | None = None) -> list[Shape]:
    """Shapes of the nodes of the cluster, those of the default partition first.

    Parameters
    ----------
    partition : only shapes of this partition are returned; None returns all.

    Raises
    ------
    ClusterError
        if sinfo fails or lists no matching nodes.
    """
    try:
        process = subprocess.run(_SINFO, capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError:
        raise ClusterError(
            "slurm: there is no sinfo here. Start the run on a login node."
        ) from None
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"slurm: sinfo failed: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise ClusterError("slurm: sinfo did not answer within 60 s. Try again.") from None
    available = parse_sinfo(process.stdout)
    matching = [shape for shape in available if partition in (None, shape.partition)]
    if not matching:
        names = ", ".join(dict.fromkeys(shape.partition for shape in available)) or "none"
        raise ClusterError(
            f"slurm: there is no partition {partition or 'that is up'}. There are: {names}."
        )
    return matching


def parse_sinfo(text: str) -> list[Shape]:
    """Shapes of the partitions that are up, from the output of sinfo; the default one first."""
    rows = [line.strip().split("|") for line in text.splitlines() if line.strip()]
    available = [
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
    return sorted(dict.fromkeys(available), key=lambda shape: not shape.is_default)


def _minutes(limit: str) -> float:
    """Convert `days-hours:minutes:seconds`, whose leading parts may be missing, to minutes."""
    if limit in ("infinite", "UNLIMITED"):
        return math.inf
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = [0, 0, *map(int, clock.split(":"))][-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _n_gpus(gres: str) -> int:
    """Number of GPUs in a list of devices such as `gpu:a100:4(S:0-1),shard:8`."""
    devices = re.sub(r"\([^)]*\)", "", gres).split(",")
    counts = [device.split(":")[-1] for device in devices if device.split(":")[0] == "gpu"]
    return sum(int(count) if count.isdigit() else 1 for count in counts)


def can_serve(shape: Shape, request: Request) -> bool:
    """Whether a node of this shape has the requested resources."""
    return (
        request.cpus <= shape.cpus
        and request.memory_mb <= shape.memory_mb
        and request.minutes <= shape.minutes
        and request.gpus <= shape.gpus
    )


def first_request(
    need: Need, cpus: int, limits: Mapping[str, int], available: Sequence[Shape]
) -> Request:
    """The request of a job's first attempt; a GPU is requested only if available and allowed.

    Parameters
    ----------
    need : what the kind of rule needs.
    cpus : number of CPUs.
    limits : `mem_mb`, `runtime` (minutes) and `gpu`, as in config.
    available : shapes of the nodes of the cluster.
    """
    memory = max(LEAST_MEMORY_MB, int(need.memory * limits["mem_mb"]))
    has_gpu = any(shape.gpus for shape in available)
    return Request(
        cpus=cpus,
        memory_mb=min(memory, limits["mem_mb"]),
        minutes=max(1, int(need.runtime * limits["runtime"])),
        gpus=min(need.gpus, limits["gpu"]) if has_gpu else 0,
    )


def node_for(request: Request, available: Sequence[Shape]) -> Shape | None:
    """The first shape that satisfies a request; None if there is none.

    For a request without a GPU, nodes without a GPU are preferred.
    """
    suitable = [shape for shape in available if can_serve(shape, request)]
    return min(suitable, key=lambda shape: not request.gpus and shape.gpus > 0, default=None)


def grown(
    first: Request, attempt: int, limits: Mapping[str, int], available: Sequence[Shape]
) -> Request:
    """The request of a later attempt: a multiple of the first, as far as limits and nodes allow.

    Parameters
    ----------
    first : the request of the first attempt.
    attempt : number of the attempt, from 1; memory and time are multiplied by it.
    limits : `mem_mb` and `runtime` (minutes), as in config.
    available : shapes of the nodes of the cluster; only those of the partition of the first
        attempt count.
    """
    node = node_for(first, available)
    suitable = [
        shape
        for shape in available
        if node and shape.partition == node.partition and can_serve(shape, first)
    ]
    largest = max(suitable, key=lambda shape: shape.memory_mb, default=None)
    max_memory = min(limits["mem_mb"], largest.memory_mb if largest else limits["mem_mb"])
    max_minutes = min(limits["runtime"], largest.minutes if largest else limits["runtime"])
    return first._replace(
        memory_mb=max(first.memory_mb, min(first.memory_mb * attempt, max_memory)),
        minutes=max(first.minutes, int(min(first.minutes * attempt, max_minutes))),
    )


def most_cpus(need: Need, limits: Mapping[str, int], available: Sequence[Shape]) -> int:
    """Number of CPUs of the largest suitable node, which a rule that runs alone requests.

    Parameters
    ----------
    need : what the kind of rule needs.
    limits : `mem_mb`, `runtime` (minutes) and `gpu`, as in config.
    available : shapes of the nodes of the cluster.
    """
    smallest_request = first_request(need, 1, limits, available)
    return max((shape.cpus for shape in available if can_serve(shape, smallest_request)), default=1)


def refusals(requests: Iterable[tuple[str, Request]], available: Sequence[Shape]) -> Iterator[str]:
    """One line for every rule whose request no node can satisfy, with what the nodes have."""
    for rule, request in dict.fromkeys(requests):
        if node_for(request, available) is None:
            yield (
                f"slurm: {rule} requests {_describe_request(request)}, but no partition has that. "
                f"There are: {'; '.join(map(_describe_shape, available))}. Lower limits/mem_mb, "
                "limits/runtime, limits/gpu or threads in config, or name another partition."
            )


def _describe_request(request: Request) -> str:
    gpus = f", {request.gpus} GPU" if request.gpus else ""
    return f"{request.cpus} CPUs, {request.memory_mb} MB of memory, {request.minutes} minutes{gpus}"


def _describe_shape(shape: Shape) -> str:
    minutes = "any number of" if math.isinf(shape.minutes) else f"{shape.minutes:g}"
    return (
        f"{shape.partition} with {shape.cpus} CPUs, {shape.memory_mb} MB, {minutes} minutes, "
        f"{shape.gpus} GPUs"
    )


# ---- corrections of snakemake-executor-plugin-slurm 2.8.0 ------------------------------------

_MEMORY_KILL = re.compile(
    r"oom[-_ ]?kill|out[-_ ]of[-_ ]memory|exceeded (?:job |step )?memory limit", re.IGNORECASE
)


def is_memory_kill(message: str, log: str) -> bool:
    """Whether Slurm's message or its log of the job says that memory ran out."""
    return _MEMORY_KILL.search(f"{message}\n{log}") is not None


def explained(message: str, memory_mb: object, log: str) -> str:
    """The plugin's message about a failed job, preceded by an explanation if memory ran out.

    Parameters
    ----------
    message : the plugin's message.
    memory_mb : memory that the job requested, in MB.
    log : Slurm's log of the job.
    """
    if not is_memory_kill(message, log):
        return message
    return (
        f"Slurm killed the job because it used more memory than the {memory_mb} MB that it "
        "requested. A further attempt requests more, up to limits/mem_mb in config and what a node "
        f"has. {message} "
    )


def mend_executor() -> None:
    """Change three things in the plugin, for this process.

    - An interrupt cancels all jobs by the name of the run, so that jobs that were just submitted
      are cancelled too. It does not wait for the thread that sleeps up to three minutes between two
      status checks; that thread ends with the process.
    - The message about a job that ran out of memory says so.
    - If config names no account, Slurm chooses it. The plugin would guess it by a call of sacct
      with a pipe in its arguments, to which sacct answers with its usage.
    """
    import snakemake_executor_plugin_slurm as plugin

    report = plugin.Executor.report_job_error

    def cancel(self: Any) -> None:
        self._job_submission_executor.shutdown(wait=True)
        with self.lock:
            self.wait = False
        subprocess.run(["scancel", "--name", self.run_uuid], check=False, timeout=60)

    def report_job_error(self: Any, job_info: Any, msg: str | None = None, **kwargs: Any) -> None:
        logs = [_read_log(file) for file in kwargs.get("aux_logs") or []]
        memory_mb = job_info.job.resources.get("mem_mb")
        report(self, job_info, msg=explained(msg or "", memory_mb, "\n".join(logs)), **kwargs)

    plugin.Executor.cancel = cancel
    plugin.Executor.report_job_error = report_job_error
    plugin.get_account = lambda logger: None


def _read_log(file: str | None) -> str:
    """Content of a job's Slurm log; an empty text if there is none."""
    if file is None:
        return ""
    path = Path(file)
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

"""Requests respect limits and partitions; one that no partition serves is refused with numbers."""

import math

import pytest

from prunescope.workflow import slurm

SINFO = """\
main*|up|30:00|1|2000|(null)
main*|up|30:00|2|3000|(null)
accelerated|up|1-12:30:00|16|64000|gpu:a100:4(S:0-1),shard:8
broken|down|infinite|64|512000|(null)
"""
OFFERED = slurm.parse_sinfo(SINFO)
LIMITS = {"mem_mb": 3000, "runtime": 60, "gpu": 1}
MODEL = slurm.NEEDS["model"]


def cpu_only():
    return [shape for shape in OFFERED if not shape.gpus]


def test_available_partitions_are_read_from_sinfo():
    shapes = slurm.parse_sinfo(SINFO)
    assert shapes == [
        slurm.Shape("main", True, 30, 1, 2000, 0),
        slurm.Shape("main", True, 30, 2, 3000, 0),
        slurm.Shape("accelerated", False, 2190, 16, 64000, 4),
    ]


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", math.inf), ("7-00:00:00", 10080), ("2:00:00", 120), ("30:00", 30), ("0:30", 0.5)],
)
def test_time_limits_are_converted_to_minutes(limit, minutes):
    assert slurm.parse_sinfo(f"a|up|{limit}|1|1|(null)")[0].minutes == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("gpu:2", 2),
        ("gpu", 1),
        ("gpu:toy:3", 3),
        ("gpu:a:1,gpu:b:2", 3),
        ("mps:9", 0),
    ],
)
def test_gpus_are_counted(gres, gpus):
    assert slurm.parse_sinfo(f"a|up|infinite|1|1|{gres}")[0].gpus == gpus


def test_a_first_attempt_requests_a_share_and_a_gpu_if_there_is_one():
    assert slurm.first_request(MODEL, 1, LIMITS, OFFERED) == slurm.Request(1, 1500, 15, 1)
    assert slurm.first_request(MODEL, 1, LIMITS, cpu_only()).gpus == 0
    assert slurm.first_request(MODEL, 1, {**LIMITS, "gpu": 0}, OFFERED).gpus == 0


def test_a_small_limit_bounds_even_the_least_memory():
    light = slurm.NEEDS["light"]
    assert slurm.first_request(light, 1, LIMITS, ()).memory_mb == slurm.LEAST_MEMORY_MB
    assert slurm.first_request(light, 1, {**LIMITS, "mem_mb": 700}, ()).memory_mb == 700


def test_later_attempts_request_more_up_to_limits_and_node():
    """The larger node has 3000 MB, and the partition half of the limit's hour."""
    first = slurm.first_request(MODEL, 1, LIMITS, cpu_only())
    attempts = [slurm.grown(first, attempt, LIMITS, cpu_only()) for attempt in (1, 2, 3)]
    assert [(each.memory_mb, each.minutes) for each in attempts] == [
        (1500, 15),
        (3000, 30),
        (3000, 30),
    ]
    unbounded = [slurm.grown(first, attempt, LIMITS, ()) for attempt in (1, 2, 4, 5)]
    assert [each.minutes for each in unbounded] == [15, 30, 60, 60]


def test_jobs_without_gpu_avoid_nodes_with_one():
    first = slurm.Request(1, 1500, 15, 0)
    assert slurm.node_for(first, OFFERED[::-1]).partition == "main"
    assert slurm.node_for(first._replace(gpus=1), OFFERED).partition == "accelerated"


def test_jobs_that_run_alone_take_the_largest_suitable_node():
    assert slurm.most_cpus(MODEL, LIMITS, cpu_only()) == 2
    assert slurm.most_cpus(MODEL, LIMITS, OFFERED) == 16
    assert slurm.most_cpus(MODEL, {**LIMITS, "mem_mb": 2_000_000}, OFFERED) == 1


def test_impossible_requests_are_refused_once_with_numbers():
    request = slurm.Request(8, 64000, 240, 1)
    lines = list(slurm.refusals([("trace_decoding", request)] * 2, cpu_only()))
    assert lines == [
        "slurm: trace_decoding requests 8 CPUs, 64000 MB of memory, 240 minutes, 1 GPU, but no "
        "partition has that. There are: main with 1 CPUs, 2000 MB, 30 minutes, 0 GPUs; main "
        "with 2 CPUs, 3000 MB, 30 minutes, 0 GPUs. Lower limits/mem_mb, limits/runtime, limits/gpu "
        "or threads in config, or name another partition."
    ]
    assert list(slurm.refusals([("trace_decoding", request)], OFFERED)) == []


@pytest.mark.parametrize(
    ("message", "log", "killed"),
    [
        ("SLURM status is: 'OUT_OF_MEMORY'.", "", True),
        ("SLURM status is: 'FAILED'.", "slurmstepd: error: Detected 1 oom_kill event", True),
        ("SLURM status is: 'FAILED'.", "error: Job 7 exceeded memory limit (9 > 5)", True),
        ("SLURM status is: 'TIMEOUT'.", "CANCELLED DUE TO TIME LIMIT", False),
    ],
)
def test_a_job_killed_for_memory_is_reported_as_such(message, log, killed):
    said = slurm.explained(message, 1500, log)
    assert (
        said.startswith("Slurm killed the job because it used more memory than the 1500 MB")
        == killed
    )
    assert message in said


def test_a_missing_slurm_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(slurm.ClusterError, match="there is no sinfo"):
        slurm.shapes()


def test_a_missing_partition_is_named(monkeypatch, tmp_path):
    sinfo = tmp_path / "sinfo"
    sinfo.write_text(f"#!/bin/sh\nprintf '%s' '{SINFO}'\n")
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(slurm.ClusterError, match=r"no partition nowhere\. There are: main, accel"):
        slurm.shapes("nowhere")
    assert [shape.cpus for shape in slurm.shapes("accelerated")] == [16]

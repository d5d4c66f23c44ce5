"""The shipped profile on a Slurm cluster of two nodes: one and two cores, no GPU, half an hour."""

import os
import re
import signal
import subprocess
import sys
import time

import loopback
import pytest

from prunescope.workflow import slurm
from tiny_run import OFFLINE, TINY, Checkout, make_inputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(loopback.missing()), reason=loopback.missing() or "Slurm is here"),
]

PROFILE = ("--workflow-profile", "profiles/slurm")
ONE_MODEL = "store/tiny/dense_answer/model=tiny/part.parquet"
SHORT = ("store/tiny/inputs/model=tiny.json", *TINY)


def test_the_cluster_stops_completely(tmp_path):
    """Its three daemons have ended, and the link to their configuration is gone."""
    folder = tmp_path / "slurm"
    loopback.up(folder, [loopback.Node(cpus=1, memory_mb=1000, gpus=1)], minutes=5)
    processes = [int(file.read_text()) for file in folder.glob("*.pid")]
    assert len(processes) == 3
    (shape,) = slurm.shapes()
    assert shape == slurm.Shape("main", True, 5, 1, 1000, 1)
    loopback.down(folder)
    assert not loopback.LINK.exists()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Its folder."""
    folder = tmp_path_factory.mktemp("slurm")
    nodes = [loopback.Node(cpus=1, memory_mb=2000), loopback.Node(cpus=2, memory_mb=3000)]
    loopback.up(folder, nodes, minutes=30)
    yield folder
    loopback.down(folder)


@pytest.fixture(scope="module")
def checkout(cluster, tmp_path_factory):
    copy = Checkout(tmp_path_factory.mktemp("cluster") / "prunescope")
    make_inputs(copy.folder / "store/tiny-inputs")
    return copy


def queue(*arguments):
    run = subprocess.run(
        ["squeue", "--noheader", *arguments], capture_output=True, text=True, check=True
    )
    return run.stdout


def start(checkout, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--nocolor", *PROFILE, *arguments],
        cwd=checkout.folder,
        env={**os.environ, **OFFLINE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("limits: {mem_mb: 64000}", "32000 MB of memory"),
        ("limits: {runtime: 2880}", "720 minutes"),
        ("threads: 8", "8 CPUs"),
    ],
)
def test_a_request_that_no_partition_serves_is_refused(checkout, setting, said):
    """Nothing is submitted; one line gives the request and the limits of the partitions."""
    (checkout.folder / "overlay.yaml").write_text(setting, encoding="utf-8")
    run = checkout.snakemake(*PROFILE, *TINY, "overlay.yaml")
    assert run.returncode != 0
    output = run.stdout + run.stderr
    lines = [line for line in output.splitlines() if "slurm: generate_dense requests" in line]
    assert len(lines) == 1, output
    assert said in lines[0]
    assert "main with 2 CPUs, 3000 MB, 30 minutes, 0 GPUs" in lines[0]
    assert queue("--states=all") == ""


def test_an_interrupt_ends_the_run_and_its_jobs(checkout):
    run = start(checkout, *SHORT)
    deadline = time.monotonic() + 120
    while not queue():
        assert time.monotonic() < deadline
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.2)
    time.sleep(2)
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert run.returncode != 0
    time.sleep(4)  # KillWait
    assert queue() == ""


def test_the_first_run_writes_the_report(checkout):
    """Jobs that measure time have the whole larger node: no other job runs there meanwhile."""
    run = start(checkout, *TINY)
    output, _ = run.communicate()
    assert run.returncode == 0, output
    assert (checkout.folder / "results/tiny/report.html").is_file()
    assert "invalid option" not in output
    assert "Usage: sacct" not in output
    assert not re.search(r"^Error in rule", output, re.MULTILINE)


def test_a_job_killed_for_memory_is_reported_and_retried_with_more(checkout):
    """100 MB are too little for Snakemake itself."""
    remake = (
        "--forcerun",
        "generate_dense",
        "--set-resources",
        "generate_dense:mem_mb=100*attempt",
    )
    run = start(checkout, ONE_MODEL, *TINY, *remake, "--retries", "1")
    output, _ = run.communicate()
    assert run.returncode != 0
    assert "used more memory than the 100 MB that it asked for" in output
    assert "used more memory than the 200 MB that it asked for" in output

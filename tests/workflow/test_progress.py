"""A job ends with the run that started it, and says why if its memory was limited."""

import os
import signal
import subprocess
import sys

import pytest

from prunescope import progress
from prunescope.paths import SCRIPTS

CRASH = """
import ctypes, resource, sys
from prunescope import progress
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
with progress.job("crash", sys.argv[1]):
    ctypes.string_at(0)
"""

JOB = """
import sys, time
from prunescope import progress
with progress.job("slow", sys.argv[1]):
    print("started", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run():
    """A process that stands for the run."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_job_ends_when_its_run_is_killed(run, tmp_path):
    log = tmp_path / "slow.log"
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(log)],
        env={
            **os.environ,
            "PYTHONPATH": str(SCRIPTS),
            progress.RUN_PROCESS: str(run.pid),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "started\n"
    assert job.poll() is None
    run.kill()
    run.wait()
    assert job.wait(timeout=30) == 1
    assert f"process {run.pid}, was killed" in log.read_text(encoding="utf-8")


def test_a_job_of_an_ended_run_does_not_start(run, tmp_path, monkeypatch):
    run.kill()
    run.wait()
    monkeypatch.setenv(progress.RUN_PROCESS, str(run.pid))
    with pytest.raises(SystemExit, match="has ended"), progress.job("slow", str(tmp_path / "log")):
        pytest.fail("it started")


def test_a_job_that_a_signal_ends_under_a_limit_of_memory_says_so(tmp_path):
    """A library that is refused memory may crash; the log holds a sentence, and the line."""
    log = tmp_path / "crash.log"
    job = subprocess.run(
        [sys.executable, "-c", CRASH, str(log)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        check=False,
    )
    assert job.returncode == -signal.SIGSEGV
    text = log.read_text(encoding="utf-8")
    assert "limits the address space of a process to 3221 MB (ulimit -v)" in text
    assert "Segmentation fault" in text
    assert progress.limited_memory() == ""

"""Snakemake's scheduler makes a pass when jobs start or end, and not by timers that pile up."""

import subprocess
import sys

import pytest

from prunescope.paths import SCRIPTS

SNAKEFILE = """
import sys, threading
sys.path.insert(0, {scripts!r})
from prunescope.workflow import scheduling

rule all:
    input: expand("{{n}}.txt", n=range(12))

rule one:
    output: "{{n}}.txt"
    shell: "touch {{output}}"

onstart:
    {first}

onsuccess:
    timers = sum(isinstance(thread, threading.Timer) for thread in threading.enumerate())
    print("timers at the end:", timers)
"""


@pytest.mark.parametrize(
    ("first", "options", "has_timers"),
    [
        ("scheduling.without_default_rate_limit(workflow)", [], False),
        ("scheduling.without_default_rate_limit(workflow)", ["50/2s"], True),
        ("pass", [], True),  # Snakemake by itself; if this fails, scheduling.py can go
    ],
)
def test_timers_of_the_scheduler(tmp_path, first, options, has_timers):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(scripts=str(SCRIPTS), first=first))
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    limit = ["--max-jobs-per-timespan", *options] if options else []
    run = subprocess.run(command + limit, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    timers = int(run.stdout.rsplit("timers at the end:", 1)[1].split()[0])
    assert (timers > 0) == has_timers
    assert len(list(tmp_path.glob("*.txt"))) == 12

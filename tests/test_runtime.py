"""A job's process is set up before its first tensor."""

import subprocess
import sys
from pathlib import Path

import pytest

PAGE = 4096

SCRIPT = """
from prunescope import models, runtime, tracing
import torch
runtime.prepare(threads=1)
print(torch.get_num_threads())
for size in (3 << 20, 5 << 20, 9 << 20):
    print(torch.empty(size, dtype=torch.uint8).data_ptr())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torch does so on Linux alone")
def test_large_tensors_start_at_a_page():
    """It is how torch asks for huge ones, even where everything else was imported first."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PYTHONPATH": str(Path(__file__).parents[1] / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    threads, *places = map(int, run.stdout.split())
    assert threads == 1, run.stderr
    assert [place % PAGE for place in places] == [0, 0, 0]

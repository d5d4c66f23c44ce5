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


def _printed(script: str) -> list[int]:
    """The numbers a script prints in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(Path(__file__).parents[1] / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [int(number) for number in run.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="torch does so on Linux alone")
def test_large_tensors_start_at_a_page():
    """It is how torch asks for huge ones, even where everything else was imported first."""
    threads, *places = _printed(SCRIPT)
    assert threads == 1
    assert [place % PAGE for place in places] == [0, 0, 0]


FREED = """
from pathlib import Path
from prunescope import runtime
import torch

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

runtime.prepare(threads=1)
kept, large = [], []
for _ in range(64):
    large.append(torch.ones(1 << 18))
    kept.append(torch.ones(100))
full = resident()
large.clear()
print(full - resident())
runtime.return_freed_pages()
print(full - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_pages_are_kept_until_they_are_returned():
    """64 MB between small tensors that stay: all there once freed, all but gone once returned."""
    kept, returned = _printed(FREED)
    assert kept * PAGE < 8 << 20
    assert returned * PAGE > 48 << 20

"""The process of a job is configured before its first tensor is made."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from prunescope.machine import runtime
from prunescope.paths import SCRIPTS

PAGE = 4096
CPU = torch.device("cpu")


@pytest.fixture
def set_threads():
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_parallel_results_are_in_the_order_of_items(threads, set_threads):
    """Although the last item finishes first; the caller's number of threads is kept."""
    set_threads(threads)

    def slower_first(item):
        time.sleep(0.01 * (3 - item))
        return item, torch.get_num_threads()

    found = runtime.side_by_side(slower_first, range(4), CPU)
    share = threads // runtime.workers_for(4, CPU)
    assert found == [(item, share) for item in range(4)]
    assert torch.get_num_threads() == threads


def test_threads_are_divided_among_the_items(set_threads):
    """No more items run at once than there are items or threads, and all threads are used."""
    set_threads(8)
    workers = {items: runtime.workers_for(items, CPU) for items in (0, 1, 3, 100)}
    assert workers == {0: 1, 1: 1, 3: 3, 100: runtime.MOST_WORKERS}
    assert runtime.workers_for(100, torch.device("cuda")) == 1
    assert runtime.side_by_side(lambda _: torch.get_num_threads(), range(2), CPU) == [4, 4]


def test_a_single_thread_is_the_thread_of_the_caller(set_threads):
    set_threads(1)
    here = threading.get_ident()
    assert runtime.side_by_side(lambda _: threading.get_ident(), range(3), CPU) == [here] * 3


def test_the_first_exception_is_raised_after_all_items_have_ended(set_threads):
    """It is the first in the order of items, although a later item fails earlier."""
    set_threads(2)
    under_way = []

    def fail(item):
        under_way.append(item)
        time.sleep(0.02 * (1 - item))
        under_way.remove(item)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        runtime.side_by_side(fail, range(2), CPU)
    assert not under_way
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_workers_have_the_gradient_mode_of_the_caller(mode, set_threads):
    set_threads(2)

    def modes(_):
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        assert runtime.side_by_side(modes, range(2), CPU) == [modes(0)] * 2


@pytest.mark.parametrize("flushed", [True, False])
def test_workers_flush_denormals_like_the_caller(flushed, set_threads):
    set_threads(2)
    if not torch.set_flush_denormal(flushed):
        pytest.skip("this processor has no such mode")
    try:
        found = runtime.side_by_side(lambda _: float(torch.tensor([1e-39]) * 1), range(2), CPU)
    finally:
        torch.set_flush_denormal(False)
    assert [value == 0 for value in found] == [flushed] * 2


SCRIPT = """
from prunescope.machine import runtime
from prunescope.model import loading
from prunescope.tracing import sublayer_traces
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
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [int(number) for number in run.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="torch does so on Linux alone")
def test_large_tensors_are_aligned_to_pages():
    """torch then requests huge pages, even if all other modules were imported before."""
    threads, *places = _printed(SCRIPT)
    assert threads == 1
    assert [place % PAGE for place in places] == [0, 0, 0]


FREED = """
from pathlib import Path
from prunescope.machine import runtime
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
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_pages_are_kept():
    """64 MB between small tensors that remain are still resident after they are freed."""
    (gone,) = _printed(FREED)
    assert gone * PAGE < 8 << 20

"""A job's process is set up before its first tensor."""

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
def test_side_by_side_keeps_the_order_of_items_and_the_callers_threads(threads, set_threads):
    """The last item is done first where several are under way."""
    set_threads(threads)

    def slower_first(item):
        time.sleep(0.01 * (3 - item))
        return item, torch.get_num_threads()

    found = runtime.side_by_side(slower_first, range(4), CPU)
    share = threads // runtime.workers_for(4, CPU)
    assert found == [(item, share) for item in range(4)]
    assert torch.get_num_threads() == threads


def test_threads_are_divided_among_the_items(set_threads):
    """Every thread has work, and no more items are under way than there are of either."""
    set_threads(8)
    workers = {items: runtime.workers_for(items, CPU) for items in (0, 1, 3, 100)}
    assert workers == {0: 1, 1: 1, 3: 3, 100: runtime.MOST_WORKERS}
    assert runtime.workers_for(100, torch.device("cuda")) == 1
    assert runtime.side_by_side(lambda _: torch.get_num_threads(), range(2), CPU) == [4, 4]


def test_one_thread_works_where_it_is_called(set_threads):
    set_threads(1)
    here = threading.get_ident()
    assert runtime.side_by_side(lambda _: threading.get_ident(), range(3), CPU) == [here] * 3


def test_the_first_exception_is_raised_when_all_have_ended(set_threads):
    """First in the order of items, though a later one fails earlier."""
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
def test_gradient_modes_reach_the_workers(mode, set_threads):
    set_threads(2)

    def modes(_):
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        assert runtime.side_by_side(modes, range(2), CPU) == [modes(0)] * 2


@pytest.mark.parametrize("flushed", [True, False])
def test_rounding_of_denormals_reaches_the_workers(flushed, set_threads):
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
def test_large_tensors_start_at_a_page():
    """It is how torch asks for huge ones, even where everything else was imported first."""
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
    """64 MB between small tensors that stay: all there once freed."""
    (gone,) = _printed(FREED)
    assert gone * PAGE < 8 << 20

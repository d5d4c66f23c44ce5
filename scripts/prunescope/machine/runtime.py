"""Set up the machine for a job: device, CPU threads and memory allocator."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from prunescope.machine import allocator

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

MOST_WORKERS = 4
"""Most items processed at the same time, because each needs memory for its temporary tensors.

Further threads are divided among the items.
"""


def prepare(threads: int) -> torch.device:
    """Fix the number of CPU threads, set up the allocator, and choose cuda or cpu.

    The number of threads decides the order of sums and thereby their last bits. Scripts pass the
    number of config. That of Snakemake is smaller on a machine with fewer cores, and two machines
    would give different tables.

    Probabilities below 1e-38 count as zero, because arithmetic on denormal numbers is ten times
    slower. Tensors from 2 MB on are aligned to huge pages; otherwise glibc would leave small blocks
    between them, which prevent freed memory from being reused. torch reads that setting only once,
    so this function must be called before any tensor is made.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    torch.set_flush_denormal(True)  # before the threads start, because they inherit the setting
    torch.set_num_threads(threads)
    allocator.keep_freed_pages()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def workers_for(items: int, device: torch.device) -> int:
    """Number of items, of `items` in total, that `side_by_side` processes at the same time."""
    return max(1, min(items, torch.get_num_threads(), MOST_WORKERS)) if device.type == "cpu" else 1


def side_by_side(
    work: Callable[[_Item], _Result], items: Sequence[_Item], device: torch.device
) -> list[_Result]:
    """Apply `work` to several items at the same time; returns the results in the order of items.

    The CPU threads are divided evenly among the items in progress. An item with a thread of its own
    does not wait for other threads within an operation, and its data stays in the cache of one
    core. The results do not depend on which item is finished first. The worker threads have the
    caller's gradient mode and inherit the setting for denormal numbers. If items fail, the
    exception of the first one in order is raised after all work in progress has ended.

    Parameters
    ----------
    work : function of one item.
    items : the items.
    device : on other devices than a CPU, the items are processed one after another.
    """
    threads, workers = torch.get_num_threads(), workers_for(len(items), device)
    if workers == 1:
        return [work(item) for item in items]
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def work_in_grad_mode(item: _Item) -> _Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return work(item)

    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
    )
    try:
        with pool:
            return list(pool.map(work_in_grad_mode, items))
    finally:
        torch.set_num_threads(threads)  # the workers have changed the default of new threads

"""The machine a job runs on: device, threads, and an allocator that keeps its pages."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from prunescope.machine import allocator

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")

MOST_WORKERS = 4
"""Items worked on at once, at most: each has temporaries of its own. Further threads are theirs."""


def prepare(threads: int) -> torch.device:
    """Fix the number of CPU threads (it decides the order of sums) and choose cuda or cpu.

    Scripts hand over config's number, not Snakemake's, which is smaller if there are fewer cores:
    a run on one core and a run on two then give equal tables.

    Probabilities below 1e-38 count as zero: arithmetic on denormals runs ten times slower.
    Tensors from 2 MB up start at a page and ask for huge ones, or glibc's slivers between them
    would keep freed memory from being used again. Call it first: torch reads this only once.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    torch.set_flush_denormal(True)  # before the threads start: they inherit it
    torch.set_num_threads(threads)
    allocator.keep_freed_pages()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def workers_for(items: int, device: torch.device) -> int:
    """How many of so many items `side_by_side` works on at once."""
    return max(1, min(items, torch.get_num_threads(), MOST_WORKERS)) if device.type == "cpu" else 1


def side_by_side(
    work: Callable[[_Item], _Found], items: Sequence[_Item], device: torch.device
) -> list[_Found]:
    """What `work` gives for each item, in their order; several at once, each on as many threads.

    With a thread to itself an item waits at no barrier within an operation, and what it reads is
    in its core's cache. Results do not depend on who is done first. Gradient modes are the
    caller's, and so is the rounding of denormals, which new threads inherit. The first exception,
    in the order of items, is raised once all work under way has ended.
    """
    threads, workers = torch.get_num_threads(), workers_for(len(items), device)
    if workers == 1:
        return [work(item) for item in items]
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def as_here(item: _Item) -> _Found:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return work(item)

    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
    )
    try:
        with pool:
            return list(pool.map(as_here, items))
    finally:
        torch.set_num_threads(threads)  # it is also what threads begin with

"""The machine a job runs on: device, threads, and an allocator that keeps its pages."""

import ctypes
import os

import torch


def prepare(threads: int) -> torch.device:
    """Fix the number of CPU threads (it decides the order of sums) and choose cuda or cpu.

    Probabilities below 1e-38 count as zero: arithmetic on denormals runs ten times slower.
    Tensors from 2 MB up start at a page and ask for huge ones, or glibc's slivers between them
    would keep freed memory from being used again. Call it first: torch reads this only once.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    torch.set_flush_denormal(True)  # before the threads start: they inherit it
    torch.set_num_threads(threads)
    _keep_freed_pages()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _keep_freed_pages() -> None:
    """Let glibc reuse freed megabytes: by default it returns them and every chunk page-faults.

    Statistics over row chunks run three to ten times faster so (make bench). Elsewhere a no-op.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_mmap_threshold, m_trim_threshold = -3, -1
        mallopt(m_mmap_threshold, 32 << 20)
        mallopt(m_trim_threshold, 1 << 30)


def return_freed_pages() -> None:
    """Give freed memory back that stays freed for long, or what was kept among it wastes it.

    Once a block it costs little; a walk through SmolLM2 grew by twice what it needs without it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

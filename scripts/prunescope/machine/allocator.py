"""Make glibc's memory allocator keep and merge freed memory. Without glibc, nothing happens.

This module does not import torch, so that the Snakefile can import it quickly.
"""

import ctypes

ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Environment variables for jobs, set by the Snakefile because glibc reads them only at start.

They turn off the per-thread cache of small blocks. Cached blocks are not merged with their
neighbours and so fragment freed memory: walking through the blocks of a model would need twice as
much.
"""


def keep_freed_pages() -> None:
    """Make glibc keep freed memory for reuse.

    By default, glibc returns large freed blocks to the system, and every new tensor then causes
    page faults. Statistics over chunks of rows run three to ten times faster with this setting
    (`make bench`). In addition, small blocks cut off to align a tensor are merged with their
    neighbours at once, since keeping them for small requests would fragment memory. All threads
    share one arena, so that each can use the memory that another has freed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_mmap_threshold, m_trim_threshold, m_mxfast, m_arena_max = -3, -1, 1, -8
        mallopt(m_arena_max, 1)
        mallopt(m_mxfast, 0)
        mallopt(m_mmap_threshold, 32 << 20)
        mallopt(m_trim_threshold, 1 << 30)

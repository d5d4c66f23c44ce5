"""glibc's allocator, told to keep what is freed and to join it. Elsewhere a no-op; no torch."""

import ctypes

ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""What glibc reads only as a process begins, so the Snakefile gives it to its jobs.

Slivers that glibc keeps per thread split up freed memory: a walk's would double.
"""


def keep_freed_pages() -> None:
    """Let glibc reuse freed megabytes: by default it returns them and every chunk page-faults.

    Statistics over row chunks run three to ten times faster so (make bench). Slivers that are cut
    off to align a tensor rejoin their neighbours at once: kept for small requests, each would split
    freed memory in two. Threads share one arena: what one has freed another can use.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_mmap_threshold, m_trim_threshold, m_mxfast, m_arena_max = -3, -1, 1, -8
        mallopt(m_arena_max, 1)
        mallopt(m_mxfast, 0)
        mallopt(m_mmap_threshold, 32 << 20)
        mallopt(m_trim_threshold, 1 << 30)

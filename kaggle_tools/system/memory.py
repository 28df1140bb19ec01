"""What the C library does with freed memory. Knows nothing of torch."""

import ctypes


def keep_freed_memory() -> None:
    """Let the C library keep memory that a step, or a photo, has freed for the next one.

    By default glibc hands large blocks back to Linux at once, which then clears them for the next step page by
    page: a quarter of the time of a training step on a CPU, most of the time of reading a mask (benchmarks/RESULTS.md).
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # not glibc
        return
    m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, -1)

"""Does memory that was freed stay with the process?"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the C library hand out again what was freed, instead of giving it back to the system.

    By default glibc gets every large block from the system and returns it when freed. A step on a
    CPU allocates the same features over and over, and each time the system has to clear their
    pages anew, which takes longer than most layers. The process then never shrinks from its peak.

    Returns:
        Whether it could be done: with glibc, on Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    malloc_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if malloc_option is None:
        return False
    return bool(malloc_option(M_MMAP_MAX, 0) and malloc_option(M_TRIM_THRESHOLD, -1))

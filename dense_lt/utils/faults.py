"""What a machine that gives out looks like from Python. No torch import."""

from __future__ import annotations

import errno

_MEMORY_SIGNS = (
    "allocate memory",
    "not enough memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_LOST_SIGNS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory, of the GPU or of the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _MEMORY_SIGNS)


def is_disk_full(error: BaseException) -> bool:
    """Whether a file could not grow."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def is_connection_lost(error: BaseException) -> bool:
    """Whether another process of a distributed run did not answer any more."""
    if type(error).__name__ in {"DistBackendError", "DistNetworkError"}:
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST_SIGNS)

import errno

import pytest
import torch

from dense_lt.utils.faults import is_connection_lost, is_disk_full, is_out_of_memory


def test_memory_of_this_machine_that_ran_out_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_memory_of_a_gpu_or_of_python_too(error):
    assert is_out_of_memory(error)


def test_other_errors_are_not_taken_for_it():
    for error in (RuntimeError("shape mismatch"), ValueError("cannot allocate memory")):
        assert not is_out_of_memory(error)
        assert not is_connection_lost(error)


def test_a_full_disk_and_a_full_quota_are_recognised_and_other_errors_not():
    assert is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_disk_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not is_disk_full(OSError(errno.ENOENT, "No such file or directory"))


def test_a_lost_connection_is_recognised():
    message = "[gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:1234"
    assert is_connection_lost(RuntimeError(message))
    assert is_connection_lost(torch.distributed.DistBackendError("NCCL error"))

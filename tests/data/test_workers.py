"""A loader process that dies is told in one message, where the next batch is waited for."""

import os
import re
import signal
from itertools import islice

import pytest
from torch.utils.data import DataLoader

from dense_lt.data.workers import WatchedLoader
from dense_lt.utils.errors import MachineError


class _Items:
    """Numbers; the process that makes number 3 comes to grief."""

    def __init__(self, grief):
        self.grief = grief

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3:
            self.grief()
        return index


def _raise(error):
    raise error


def _watched(grief, workers=1):
    loader = DataLoader(_Items(grief), batch_size=None, num_workers=workers)
    return WatchedLoader(loader)


@pytest.mark.parametrize(
    ("grief", "message"),
    [
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "ended by SIGKILL, as a system does when memory runs out; if it has, lower data.workers"
            ", data.prefetch_batches or data.cache_images_mb",
        ),
        (
            lambda: (signal.signal(signal.SIGBUS, signal.SIG_DFL), os.kill(os.getpid(), 7)),
            "ended by SIGBUS, because shared memory ran out; enlarge /dev/shm",
        ),
        (
            lambda: (signal.signal(signal.SIGSEGV, signal.SIG_DFL), os.kill(os.getpid(), 11)),
            "ended by SIGSEGV, perhaps in an image library; data.workers=0 shows where",
        ),
        (lambda: os._exit(3), "ended with status 3"),
        (lambda: _raise(MemoryError()), "memory ran out; lower data.workers"),
        (
            lambda: _raise(
                RuntimeError("unable to allocate shared memory(shm) for file </torch_1>")
            ),
            "shared memory ran out; enlarge /dev/shm (docker run --shm-size=8g), or lower",
        ),
        (lambda: _raise(OSError(24, "Too many open files")), "raise `ulimit -n`, or lower data"),
    ],
)
def test_what_befell_a_loader_is_told_with_the_mend(grief, message):
    with pytest.raises(MachineError, match=re.escape(message)) as caught:
        list(_watched(grief))
    assert str(caught.value).startswith("loading data: ")
    assert "Traceback" not in str(caught.value)


def test_a_fault_of_the_program_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(_watched(lambda: _raise(RuntimeError("shape mismatch"))))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_whole_loaders_yield_everything_every_time(workers):
    watched = _watched(lambda: None, workers)
    assert [list(watched), list(watched)] == [list(range(6))] * 2


def test_a_death_does_not_interrupt_what_is_done_between_two_batches():
    """An optimizer step must be made or not made, never half."""
    watched = _watched(lambda: os.kill(os.getpid(), signal.SIGKILL))
    iterator = iter(watched)
    assert list(islice(iterator, 2)) == [0, 1]  # number 3 is being made then
    (process,) = watched._processes
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(MachineError, match="SIGKILL"):
        list(iterator)

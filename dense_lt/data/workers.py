"""Loader processes that die: told in one message, and only where a batch is waited for."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader

from dense_lt.utils.errors import MachineError
from dense_lt.utils.faults import is_out_of_memory

_END = object()
_LESS = "lower data.workers, data.prefetch_batches or data.cache_images_mb"
_SHARED = f"enlarge /dev/shm (docker run --shm-size=8g), or {_LESS}"
_SHARED_SIGNS = ("shared memory", "/torch_", "/dev/shm")

_torch_handler: list[Callable[..., Any]] = []
"""Of SIGCHLD; torch installs it with the first loader of a process and never again."""


class WatchedLoader:
    """Yields what a loader yields.

    torch tells of the death of a loader process from a signal handler, wherever the main process
    is: in the middle of an optimizer step, whose state would then be neither that before nor that
    after it. Here it is told while the next batch is waited for.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        """Watch over the processes of `loader`, if it has any."""
        self._loader = loader
        self._processes: list[BaseProcess] = []

    def __iter__(self) -> Iterator[Any]:
        """Iterate once.

        Raises:
            MachineError: a process died, or memory, shared memory or open files ran out.
        """
        try:
            before = set(multiprocessing.active_children())
            with _deaths_heard():
                iterator = iter(self._loader)
            self._processes += set(multiprocessing.active_children()) - before
            while True:
                with _deaths_heard():
                    fetched = next(iterator, _END)
                if fetched is _END:
                    return
                yield fetched
        except (RuntimeError, OSError, MemoryError) as error:
            explanation = self._explain(error)
            if explanation is None:
                raise
            raise MachineError(f"loading data: {explanation}") from error

    def _explain(self, error: Exception) -> str | None:
        """What befell the loader, and the mend; None if it was not the machine."""
        multiprocessing.active_children()  # takes note of those that have ended
        for process in self._processes:
            if process.exitcode:
                return _explain_end(process.pid, process.exitcode)
        text = str(error)
        if any(sign in text for sign in _SHARED_SIGNS):
            return f"shared memory ran out; {_SHARED}"
        if "Too many open files" in text:
            return "too many files are open; raise `ulimit -n`, or lower data.workers"
        return f"memory ran out; {_LESS}" if is_out_of_memory(error) else None


def _explain_end(pid: int | None, status: int) -> str:
    """Of a process that ended by itself, or by a signal (`status` is negative)."""
    if status > 0:
        return (
            f"process {pid} ended with status {status}; if it has not said why, data.workers=0 "
            "loads without such processes"
        )
    number = signal.Signals(-status)
    reasons = {
        signal.SIGKILL: f"as a system does when memory runs out; if it has, {_LESS}",
        signal.SIGBUS: f"because shared memory ran out; {_SHARED}",
    }
    other = "perhaps in an image library; data.workers=0 shows where"
    return f"process {pid} was ended by {number.name}, {reasons.get(number, other)}"


@contextmanager
def _deaths_heard() -> Iterator[None]:
    """Inside, torch's handler raises at the death of a loader process, at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    for handler in _torch_handler:
        signal.signal(signal.SIGCHLD, handler)
    try:
        for handler in _torch_handler:
            handler(signal.SIGCHLD, None)  # of those that have died since the last batch
        yield
    finally:
        now = signal.getsignal(signal.SIGCHLD)
        if not _torch_handler and now is not before and callable(now):
            _torch_handler.append(now)
        signal.signal(signal.SIGCHLD, before)

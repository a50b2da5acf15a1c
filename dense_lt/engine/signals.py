"""Has someone asked this run to stop (Ctrl+C, or the cluster's end of time)?"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

import torch

from dense_lt.utils import distributed

_WATCHED = (signal.SIGINT, signal.SIGTERM)


class StopRequested(KeyboardInterrupt):
    """Raised where there is nothing to finish first: see `StopSignal.at_once`."""


class StopSignal:
    """While entered, the first SIGINT or SIGTERM is noted instead of killing the process.

    A second one kills as usual.
    """

    received: signal.Signals | None = None
    _at_once = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in _WATCHED}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()
        if self._at_once:
            raise StopRequested

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Work that may be left at any point, because nothing is learnt by it.

        Raises:
            StopRequested: a signal has come, in here or before.
        """
        self._at_once = True
        try:
            if self.received:
                raise StopRequested
            yield
        finally:
            self._at_once = False

    def agreed(self, device: torch.device) -> signal.Signals | None:
        """The signal that any process has received: all stop after the same step, or none.

        Several processes meet here, and wait for the device, once per step; one does neither.
        """
        if not distributed.is_distributed():
            return self.received
        own = torch.tensor([float(self.received == number) for number in _WATCHED], device=device)
        counts = distributed.sum_over_processes(own).tolist()
        heard = [number for number, count in zip(_WATCHED, counts, strict=True) if count]
        return heard[0] if heard else None

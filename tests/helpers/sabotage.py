"""What befalls a run: called in its process before it starts."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count_calls(report: Path) -> None:
    """Write how many Python functions were called before the first step, and in all."""
    from dense_lt.cli import training_run

    calls, fit = _Calls(None), training_run.fit

    def counted(*arguments: Any, **options: Any) -> Any:
        before = calls.number
        result = fit(*arguments, **options)
        report.write_text(f"{before} {calls.number}")
        return result

    training_run.fit = counted
    calls.start()


def kill_at_call(number: int) -> None:
    """A moment anywhere in the run, in any of its threads: the call of the n-th Python function."""
    _Calls(number).start()


class _Calls:
    def __init__(self, last: int | None) -> None:
        self.number = 0
        self._last = last

    def start(self) -> None:
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def _see(self, frame: object, event: str, argument: object) -> None:
        if event == "call":
            self.number += 1
            if self.number == self._last:
                _kill()


def kill_while_writing(number: int) -> None:
    """At the n-th thing that is done to a file of a checkpoint; a file being written is torn."""
    from dense_lt.engine import checkpoint

    done = [0]

    def due() -> bool:
        done[0] += threading.current_thread().name.startswith("checkpoint")
        return done[0] == number

    def torn(tensors: Any, path: Path, **options: Any) -> None:
        now = due()
        save_file(tensors, path, **options)
        if now:
            os.truncate(path, path.stat().st_size // 2)
            _kill()

    def or_kill(function: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any) -> Any:
            if due():
                _kill()
            return function(*arguments)

        return checked

    save_file = checkpoint.save_tensors
    checkpoint.save_tensors = torn
    os.fsync = or_kill(os.fsync)
    Path.replace = or_kill(Path.replace)


def kill_loader(step: int) -> None:
    """A loader process dies as it begins the batch of optimizer step `step` of this start."""
    from dense_lt.data.loading import _Fetcher

    fetch, number = _Fetcher.__getitems__, [0]

    def fetched(self: _Fetcher, draws: list[Any]) -> Any:
        number[0] += 1
        if number[0] == step:
            _kill()
        return fetch(self, draws)

    _Fetcher.__getitems__ = fetched


def move_away(folder: Path, step: int) -> None:
    """The folder of images is not there any more after `step` batches."""
    from dense_lt.engine.step import TrainingStep

    original = TrainingStep.__call__

    def moved(self: TrainingStep, batch: Any, number: int) -> Any:
        if number == step:
            shutil.move(folder, folder.with_name(folder.name + "_elsewhere"))
        return original(self, batch, number)

    TrainingStep.__call__ = moved


def allocate_too_much(step: int) -> None:
    """The machine has no memory in step `step` of this start; torch's own error."""
    from dense_lt.engine.step import TrainingStep

    backward, number = TrainingStep.backward, [0]

    def greedy(self: TrainingStep, batch: Any) -> Any:
        number[0] += 1
        if number[0] == step:
            torch.empty(1 << 60, dtype=torch.uint8)
        return backward(self, batch)

    TrainingStep.backward = greedy


def fill_disk() -> None:
    """From the second checkpoint on there is no space for the second of its files."""
    save, number = torch.save, [0]

    def refuse(*arguments: Any, **options: Any) -> None:
        number[0] += threading.current_thread().name.startswith("checkpoint")
        if number[0] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*arguments, **options)

    torch.save = refuse


def stop_in_evaluation(number: int) -> None:
    """A signal comes in the middle of the first evaluation."""
    from dense_lt.evaluation import evaluator

    predict = evaluator.predict

    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), number)
        return predict(*arguments, **options)

    evaluator.predict = interrupted

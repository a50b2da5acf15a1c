"""Where do the time and the memory of a training step go?"""

from __future__ import annotations

import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dense_lt.engine.step import TrainingStep
from dense_lt.structures import Batch, Losses
from dense_lt.utils.errors import ConfigError, MachineError

DATA, FORWARD, BACKWARD, OPTIMIZER = "data", "rest of forward", "backward", "optimizer"
REST = "clipping, statistics, rest"


@dataclass
class StepProfile:
    """Seconds by part of the step, summed over `steps` steps; a part within another counts once."""

    steps: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peak_bytes: int = 0
    """Most memory in use: of the GPU's allocator, or of the whole process on a CPU."""

    def rows(self) -> list[tuple[str, float, float]]:
        """(part, milliseconds a step, share), in the order of the step."""
        total = sum(self.seconds.values())
        last = [FORWARD, BACKWARD, OPTIMIZER, REST]
        order = [name for name in self.seconds if name not in last] + last
        return [(n, 1000 * s / self.steps, s / total) for n in order if (s := self.seconds[n]) > 0]


class Stopwatch:
    """Attributes time to the innermost part that is open."""

    def __init__(self, device: torch.device, profile: StepProfile) -> None:
        """Measure on `device` into `profile`."""
        self._device = device
        self._profile = profile
        self._open: list[str] = []
        self._since = 0.0

    def start(self, name: str) -> None:
        """Open a part within the one that is open."""
        self._switch()
        self._open.append(name)

    def stop(self) -> None:
        """Close the innermost part."""
        self._switch()
        self._open.pop()

    @property
    def current(self) -> str | None:
        """The innermost part that is open."""
        return self._open[-1] if self._open else None

    def _switch(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # else the part that waits gets all the time
        now = time.perf_counter()
        if self._open:
            self._profile.seconds[self._open[-1]] += now - self._since
        self._since = now


def profile_steps(
    step: TrainingStep, batches: Iterator[Batch], *, steps: int, warmup: int = 2
) -> StepProfile:
    """Train `warmup` + `steps` steps and measure the latter.

    On a GPU the device is waited for between parts, so that each gets its own time; a step that
    overlaps them is a little faster than their sum.

    Args:
        step: of a run; its detector's parts are measured one by one.
        batches: endless.
        steps: that are measured.
        warmup: steps before them.
    """
    step.detector.train()
    for number in range(1, warmup + 1):
        step(next(batches), number)
    if step.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(step.device)
    profile = StepProfile(steps)
    watch = Stopwatch(step.device, profile)
    with _hooked(step, watch):
        for number in range(warmup + 1, warmup + steps + 1):
            watch.start(DATA)
            batch = next(batches)
            watch.stop()
            watch.start(REST)
            step(batch, number)
            watch.stop()
    profile.peak_bytes = _peak(step.device)
    return profile


def check_trace(path: Path) -> None:
    """Make sure that a trace can be written to `path`; makes its folder.

    Raises:
        ConfigError: it cannot.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder; name a file in it", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"--trace {path}: cannot be written: {error.strerror}") from error


def write_trace(step: TrainingStep, batches: Iterator[Batch], path: Path) -> None:
    """Train one step more under torch's profiler, and write what it saw as a Chrome trace.

    Raises:
        ConfigError: see `check_trace`.
        MachineError: torch has not written it.
    """
    check_trace(path)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if step.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        step(next(batches), 1)
    path.unlink(missing_ok=True)
    profiler.export_chrome_trace(str(path))  # only logs what goes wrong
    if not path.is_file() or not path.stat().st_size:
        raise MachineError(f"{path}: torch could not write the trace; is the disk full?")


def parts_of(detector: nn.Module) -> Mapping[str, nn.Module]:
    """Parts worth a line: the detector's own, and those of its pyramid."""
    parts = dict(detector.named_children())
    for name, child in list(parts.items()):
        if name == "pyramid":
            parts |= {f"{name}.{below}": module for below, module in child.named_children()}
    return {name: part for name, part in parts.items() if not isinstance(part, nn.ModuleList)}


@contextmanager
def _hooked(step: TrainingStep, watch: Stopwatch) -> Iterator[None]:
    """Meanwhile `watch` is told when a part begins and ends."""
    hooks = _Hooks(watch, step.backward)
    handles = [
        step.detector.register_forward_pre_hook(hooks.begin_forward),
        step.detector.register_forward_hook(hooks.end_forward),
        step.optimizer.register_step_pre_hook(partial(hooks.begin, OPTIMIZER)),
        step.optimizer.register_step_post_hook(hooks.end),
    ]
    for name, part in parts_of(step.detector).items():
        handles.append(part.register_forward_pre_hook(partial(hooks.begin, name)))
        handles.append(part.register_forward_hook(hooks.end))
    step.backward = hooks.backward
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        del step.backward


class _Hooks:
    """Forward passes have hooks, and so have optimizers; what lies between is backward."""

    def __init__(self, watch: Stopwatch, backward: Callable[[Batch], Losses]) -> None:
        self._watch = watch
        self._backward = backward

    def begin(self, name: str, *_: object) -> None:
        self._watch.start(name)

    def end(self, *_: object) -> None:
        self._watch.stop()

    def begin_forward(self, *_: object) -> None:
        if self._watch.current == BACKWARD:  # of the micro-batch before
            self._watch.stop()
        self._watch.start(FORWARD)

    def end_forward(self, *_: object) -> None:
        self._watch.stop()
        self._watch.start(BACKWARD)

    def backward(self, batch: Batch) -> Losses:
        losses = self._backward(batch)
        self._watch.stop()
        return losses


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

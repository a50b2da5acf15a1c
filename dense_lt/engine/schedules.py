"""By what is the learning rate multiplied at a step? Pure functions of the step number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """What the training step asks of a schedule."""

    def __call__(self, done: int) -> float:
        """Factor on the learning rate when `done` optimizer steps lie behind, from 0."""
        ...


@dataclass(frozen=True)
class Warmup:
    """From `factor` up to 1 over the first `steps` optimizer steps, with a power of time."""

    steps: int
    factor: float
    power: float = 1.0

    def __call__(self, done: int) -> float:
        """Factor in [`factor`, 1]; exactly 1 from step `steps` on."""
        if done >= self.steps:
            return 1.0
        return self.factor + (1.0 - self.factor) * (done / self.steps) ** self.power


@dataclass(frozen=True)
class StepSchedule:
    """Warm-up, then multiplied by `factor` at every milestone that has been reached."""

    warmup: Warmup
    milestones: tuple[int, ...]  # optimizer steps
    factor: float

    def __call__(self, done: int) -> float:
        """The warm-up times factor^(milestones reached)."""
        reached = sum(done >= milestone for milestone in self.milestones)
        return self.warmup(done) * self.factor**reached

    def __str__(self) -> str:
        drops = ", ".join(map(str, self.milestones))
        return f"{_warmup_text(self.warmup)}, then times {self.factor:g} at steps {drops}"


@dataclass(frozen=True)
class CosineSchedule:
    """Warm-up, then half a cosine from 1 down to `final_factor` at `total_steps`."""

    warmup: Warmup
    total_steps: int
    final_factor: float

    def __call__(self, done: int) -> float:
        """The warm-up, then final + (1 - final) (1 + cos(pi t)) / 2 with t from 0 to 1 after it."""
        if done < self.warmup.steps:
            return self.warmup(done)
        length = max(self.total_steps - self.warmup.steps, 1)
        passed = min((done - self.warmup.steps) / length, 1.0)
        return self.final_factor + (1.0 - self.final_factor) * (1 + math.cos(math.pi * passed)) / 2

    def __str__(self) -> str:
        start = _warmup_text(self.warmup)
        if self.total_steps <= self.warmup.steps:
            return f"{start}, then {self.final_factor:g} at once"
        return f"{start}, then a cosine down to {self.final_factor:g} at step {self.total_steps}"


def _warmup_text(warmup: Warmup) -> str:
    if not warmup.steps:
        return "no warm-up"
    kind = "linear" if warmup.power == 1 else f"power {warmup.power:g}"
    return f"{kind} warm-up from {warmup.factor:g} over {warmup.steps} steps"

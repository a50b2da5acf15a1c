"""The exponential moving average of the weights: what is evaluated and saved, not trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dense_lt.balance.statistics import named_statistics


class WeightAverage:
    """A second set of parameters and buffers that follows those of a detector.

    After optimizer step t an average is `decay` (1 - e^(-t / `warmup`)) of itself and the rest of
    the weight. Whole numbers and gradient statistics are taken as they are: they are counted, not
    learnt. The average starts as the detector is.

    Source: Ge et al. 2021 (YOLOX), code.
    """

    def __init__(
        self, detector: nn.Module, optimizer: Optimizer, *, decay: float, warmup: int
    ) -> None:
        """Follow `detector` from now on, at every step of `optimizer`."""
        self._detector = detector
        self._decay = decay
        self._warmup = warmup
        self.steps = 0
        self._averages = {
            name: tensor.detach().clone() for name, tensor in self._averaged().items()
        }
        optimizer.register_step_post_hook(lambda *_: self.update())

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the weights as they are."""
        self.steps += 1
        kept = self._decay * (1 - math.exp(-self.steps / self._warmup))
        for name, tensor in self._averaged().items():
            self._averages[name].lerp_(tensor.detach(), 1 - kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The detector's state, with averages in place of what is averaged."""
        return {**self._detector.state_dict(), **self._averages}

    def restore(self, averages: dict[str, Tensor], *, steps: int) -> None:
        """Go on from `averages`, as `state_dict` gave them after `steps` steps."""
        self.steps = steps
        for name, tensor in self._averages.items():
            tensor.copy_(averages[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The detector has the averages, until the end of the block; then its own weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._averaged().items():
            own = tensor.detach().clone()
            tensor.copy_(self._averages[name])
            self._averages[name].copy_(own)

    def _averaged(self) -> dict[str, Tensor]:
        counted = tuple(f"{name}." for name in named_statistics(self._detector))
        return {
            name: tensor
            for name, tensor in self._detector.state_dict(keep_vars=True).items()
            if tensor.is_floating_point() and not name.startswith(counted)
        }

"""What the stream of samples asks of a way to choose images."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Epochs(Protocol):
    """Which images come in each epoch, and in which order; I images in the data set.

    Everything random depends on the seed and the number of the epoch alone, so that any epoch can
    be made without the ones before.
    """

    def length(self, epoch: int) -> int:
        """Number of draws in an epoch."""
        ...

    def indices(self, epoch: int) -> np.ndarray:
        """Images of an epoch in the order in which they come: (length,) int64."""
        ...

    def expected(self) -> np.ndarray:
        """How often each image comes in an epoch, on average: (I,) float64."""
        ...

"""What an assigner is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from dense_lt.structures import Priors


class Assigner(Protocol):
    """Which ground truth each prior learns. Geometry only: it never sees classes or predictions."""

    def __call__(self, priors: Priors, boxes: Tensor) -> Tensor:
        """Match `priors` (R) to ground-truth `boxes` (M, 4) of one image.

        Returns:
            (R,) int64: an index into `boxes`, or BACKGROUND (-1), or IGNORE (-2).
            All BACKGROUND when M is 0.
        """
        ...

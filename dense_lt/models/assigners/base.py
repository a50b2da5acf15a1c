"""What an assigner is, and how it keeps crowded images small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from dense_lt.structures import Priors

PAIRS_AT_ONCE = 2**22
"""Pairs of a prior and an object that are held together; bounds the memory of crowded images."""


class Assigner(Protocol):
    """Which ground truth each prior learns. Geometry only: it never sees classes or predictions."""

    def __call__(self, priors: Priors, boxes: Tensor) -> Tensor:
        """Match `priors` (R) to ground-truth `boxes` (M, 4) of one image.

        Returns:
            (R,) int64: an index into `boxes`, or BACKGROUND (-1), or IGNORE (-2).
            All BACKGROUND when M is 0.
        """
        ...


def pieces(boxes: Tensor, num_priors: int) -> Iterator[tuple[int, Tensor]]:
    """Cut `boxes` (M, 4) into runs of at most PAIRS_AT_ONCE / `num_priors` boxes, at least one.

    Yields the index of a run's first box, and the run; nothing when M is 0.
    """
    length = max(1, PAIRS_AT_ONCE // num_priors)
    for start in range(0, len(boxes), length):
        yield start, boxes[start : start + length]

"""Which of many matched boxes learn: a fixed number, with at most a share of positives."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.ops.matching import BACKGROUND


def sample_matches(matches: Tensor, *, count: int, positive_fraction: float) -> Tensor:
    """Draw rows to learn from: positives first, background fills up.

    Chance comes from torch's generator of the device, whose state is part of every checkpoint: a
    resumed run draws what the uninterrupted one would have.

    Args:
        matches: (R,) int64: an index of an object, or BACKGROUND, or IGNORE.
        count: rows to draw; fewer come back where there are not enough.
        positive_fraction: largest share of `count` that is positive.

    Returns:
        (n,) int64 rows, the positives before the background.
    """
    positive = (matches >= 0).nonzero().squeeze(1)
    positive = _draw(positive, int(count * positive_fraction))
    background = (matches == BACKGROUND).nonzero().squeeze(1)
    return torch.cat([positive, _draw(background, count - len(positive))])


def _draw(rows: Tensor, count: int) -> Tensor:
    """At most `count` of `rows`, in random order."""
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]

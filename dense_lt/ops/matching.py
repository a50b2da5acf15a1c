"""The one home of what "background" and "ignore" mean, for priors as for labels."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

BACKGROUND: Final = -1
"""This prior learns that nothing is there; in labels: every class is a negative."""

IGNORE: Final = -2
"""This prior learns nothing; in labels: no class gets loss, gradient or statistics."""


def labels_of_matches(matches: Tensor, labels: Tensor) -> Tensor:
    """Class label of every prior from its matched ground truth.

    Args:
        matches: (R,) int64: an index into `labels`, or BACKGROUND, or IGNORE.
        labels: (M,) int64 in [0, C); M may be 0.

    Returns:
        (R,) int64 in [0, C), or BACKGROUND, or IGNORE.
    """
    if labels.numel() == 0:
        return matches.clone()
    return torch.where(matches >= 0, labels[matches.clamp(min=0)], matches)

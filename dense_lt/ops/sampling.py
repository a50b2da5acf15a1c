"""Which of many matched boxes learn: a fixed number, with at most a share of positives."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.ops.matching import BACKGROUND
from dense_lt.structures import Target


def generator_of(target: Target, use: int) -> torch.Generator | None:
    """What decides chance for one image, so that it does not matter which process has the image.

    Args:
        target: of the image.
        use: 0, 1, ...: each gets numbers of its own.

    Returns:
        A generator seeded by the image's place in the stream of training images; None, for torch's
        generator of the device, where the target has no such seed.
    """
    if "chance" not in target:
        return None
    generator = torch.Generator(target["boxes"].device)
    return generator.manual_seed(int(target["chance"]) + use)


def sample_matches(
    matches: Tensor,
    *,
    count: int,
    positive_fraction: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw rows to learn from: positives first, background fills up.

    A resumed run draws what the uninterrupted one would have: see `generator_of`; the state of
    torch's generator of the device, which decides without `generator`, is in every checkpoint.

    Args:
        matches: (R,) int64: an index of an object, or BACKGROUND, or IGNORE.
        count: rows to draw; fewer come back where there are not enough.
        positive_fraction: largest share of `count` that is positive.
        generator: on the device of `matches`.

    Returns:
        (n,) int64 rows, the positives before the background.
    """
    positive = (matches >= 0).nonzero().squeeze(1)
    positive = _draw(positive, int(count * positive_fraction), generator)
    background = (matches == BACKGROUND).nonzero().squeeze(1)
    return torch.cat([positive, _draw(background, count - len(positive), generator)])


def _draw(rows: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """At most `count` of `rows`, in random order."""
    order = torch.randperm(len(rows), device=rows.device, generator=generator)
    return rows[order[:count]]

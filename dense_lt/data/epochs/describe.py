"""What an epoch holds, in words."""

from __future__ import annotations

import numpy as np

EDGES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Lower bounds of the histogram's ranges; exactly 0 and exactly 1 have lines of their own."""


def describe_draws(expected: np.ndarray) -> list[str]:
    """How long an epoch is, and how many images come how often; ranges without images are left out.

    Args:
        expected: how often each image comes in an epoch, on average: (I,).
    """
    length, images = expected.sum(), max(len(expected), 1)
    lines = [f"an epoch is {length:,.0f} images, {length / images:.3g} times the data set"]
    for lower, upper in zip(EDGES, (*EDGES[1:], np.inf), strict=True):
        if lower in (0, 1):
            exactly = int((expected == lower).sum())
            if exactly:
                lines.append(f"repeat factor {lower:g}: {exactly:,} images")
        between = (expected >= lower) & (expected < upper) & (expected != 0) & (expected != 1)
        if count := int(between.sum()):
            lines.append(f"repeat factor {lower:g} to {upper:g}: {count:,} images")
    return lines

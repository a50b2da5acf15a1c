"""Points near the centre of an object, on the pyramid level that fits its size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dense_lt.models.assigners.base import pieces
from dense_lt.ops.boxes import box_area, centers
from dense_lt.ops.matching import BACKGROUND
from dense_lt.structures import Priors

STRIDES_PER_LEVEL = 8
"""Largest distance to a side on a level, in its strides: 64 pixels at stride 8, as published."""


class CenterAssigner:
    """A point learns the smallest of the objects that it may learn; no point is ignored.

    It may learn an object when it lies inside, not farther than `radius` strides from the centre
    in x and y, and when its largest distance to a side lies within the limits of its level (both
    included). Of equal areas the first counts. An object between the points of its level has none.

    Source: Tian et al. 2019 (FCOS), section 3.2; the radius is that of the authors' code and of
    their 2020 version.
    """

    def __init__(
        self, *, radius: float | None = 1.5, size_limits: Sequence[float] | None = None
    ) -> None:
        """State the geometry.

        Args:
            radius: in strides; None takes the whole object.
            size_limits: largest distance to a side in pixels, for every level but the last, which
                has none; a level begins where the one before it ends. None: 8 strides.
        """
        self.radius = math.inf if radius is None else radius
        self.size_limits = size_limits

    @torch.no_grad()
    def __call__(self, priors: Priors, boxes: Tensor) -> Tensor:
        """See `Assigner`. Memory: that of `PAIRS_AT_ONCE` sets of distances, whatever R and M."""
        points = centers(priors.boxes)[:, None]  # (R, 1, 2)
        reach, lower, upper = self._limits(priors)  # (R, 1) each
        smallest = boxes.new_full((len(points),), math.inf)
        matches = torch.full_like(smallest, BACKGROUND, dtype=torch.int64)
        for start, some in pieces(boxes, len(points)):
            sides = torch.cat([points - some[:, :2], some[:, 2:] - points], dim=-1)  # (R, m, 4)
            farthest = sides.amax(dim=-1)
            possible = (sides.amin(dim=-1) > 0) & (farthest >= lower) & (farthest <= upper)
            possible &= (points - centers(some)).abs().amax(dim=-1) < reach
            area, index = torch.where(possible, box_area(some), math.inf).min(dim=1)
            matches = torch.where(area < smallest, index + start, matches)
            smallest = torch.minimum(smallest, area)
        return matches

    def _limits(self, priors: Priors) -> tuple[Tensor, Tensor, Tensor]:
        """Of every prior (R, 1): largest distance from the centre, and those to a side."""
        limits = self.size_limits
        if limits is None:
            limits = [STRIDES_PER_LEVEL * stride for stride in priors.strides[:-1]]
        assert len(limits) == len(priors.strides) - 1, f"{limits} for strides {priors.strides}"
        levels = zip(
            (self.radius * stride for stride in priors.strides),
            (0.0, *limits),
            (*limits, math.inf),
            strict=True,
        )
        rows = [
            priors.boxes.new_tensor(level).expand(count, 3)
            for level, count in zip(levels, priors.counts, strict=True)
        ]
        reach, lower, upper = torch.cat(rows).split(1, dim=1)
        return reach, lower, upper

"""The boxes that a dense head starts from, for any size of its feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from dense_lt.ops.anchors import cell_anchors, shift_over_grid
from dense_lt.structures import Priors


class PriorGenerator:
    """Feature sizes -> Priors; the last few sizes are kept, since batches repeat them."""

    def __init__(
        self,
        strides: Sequence[int],
        *,
        scales: Sequence[float] = (8.0,),
        ratios: Sequence[float] = (1.0,),
        sizes: Sequence[float] | None = None,
        center: str = "middle",
    ) -> None:
        """State the shapes.

        Args:
            strides: pixels per cell, one per level.
            scales: sides of square anchors in strides.
            ratios: height / width.
            sizes: instead of `scales`, one side per level in pixels.
            center: see `shift_over_grid`.
        """
        self.strides = tuple(strides)
        if sizes is None:
            sides = [[scale * stride for scale in scales] for stride in strides]
        else:
            sides = [[size] for size in sizes]
        self._cells = [cell_anchors(level, ratios) for level in sides]
        self._center = center
        self._cached = lru_cache(maxsize=32)(self._make)

    @property
    def priors_per_location(self) -> int:
        """A."""
        return len(self._cells[0])

    def __call__(self, levels: Sequence[Tensor]) -> Priors:
        """Priors of maps (B, channels, H_l, W_l), on their device."""
        sizes = tuple((int(x.shape[-2]), int(x.shape[-1])) for x in levels)
        return self._cached(sizes, levels[0].device)

    def for_image_size(self, size: tuple[int, int], device: torch.device) -> Priors:
        """Priors of an input of `size` (height, width), without running the network."""
        sizes = tuple((-(-size[0] // s), -(-size[1] // s)) for s in self.strides)
        return self._cached(sizes, device)

    def boxes_of_levels(
        self, sizes: Sequence[tuple[int, int]], device: torch.device
    ) -> list[Tensor]:
        """Boxes L x (R_l, 4) on maps of `sizes`, which may be symbols of a traced program."""
        return [
            shift_over_grid(cell.to(device), size, stride, center=self._center)
            for cell, size, stride in zip(self._cells, sizes, self.strides, strict=True)
        ]

    def _make(self, sizes: tuple[tuple[int, int], ...], device: torch.device) -> Priors:
        boxes = self.boxes_of_levels(sizes, device)
        return Priors(torch.cat(boxes), tuple(len(level) for level in boxes), self.strides)

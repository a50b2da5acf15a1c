"""Anchor boxes: the shapes at one location, and their copies over a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Boxes (A, 4) float32 around the origin, sizes outer and ratios inner; A = sizes x ratios.

    Args:
        sizes: side of the square of equal area, pixels.
        ratios: height / width.
    """
    boxes = []
    for size in sizes:
        for ratio in ratios:
            width, height = size * ratio**-0.5, size * ratio**0.5
            boxes.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(boxes, dtype=torch.float32)


def shift_over_grid(
    cell: Tensor, feature_size: tuple[int, int], stride: int, *, center: str = "middle"
) -> Tensor:
    """Copies of `cell` (A, 4) at every location: (H*W*A, 4), ordered (y, x, anchor).

    Args:
        cell: boxes around the origin.
        feature_size: (H, W) of the feature map.
        stride: pixels per cell.
        center: "middle" puts the origin at (i + 1/2) * stride, "corner" at i * stride.
    """
    offset = 0.5 if center == "middle" else 0.0
    y, x = (
        (torch.arange(n, dtype=torch.float32, device=cell.device) + offset) * stride
        for n in feature_size
    )
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=-1)  # (H, W, 4)
    return (shifts[:, :, None] + cell).reshape(-1, 4)

"""RoIAlign: torchvision's, and on a CPU the same numbers as weighted sums of whole pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align as torchvision_roi_align

MOST_POINTS = 16
"""Points of a cell up to which gathering pixels is faster than torchvision's loop over them."""

Weights = tuple[Tensor, Tensor]
"""Indices (N, size, entries) int64 of pixels along an axis, and their weights float32."""


def roi_align(
    features: Tensor,
    rows: Tensor,
    size: int,
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Means of bilinear samples in the cells of each region (N, channels, size, size) float32.

    On a CPU torchvision's backward pass goes number by number over channels that lie far apart, and
    takes half of the step of a small detector. Here a cell is a sum of rows of a table of pixels
    (`embedding_bag`), whose channels lie side by side. Sums are taken in another order, so results
    differ by rounding. Regions get no gradient, as in torchvision.

    Args:
        features: (B, channels, height, width) float32.
        rows: (N, 5) float32: image, then x0, y0, x1, y1 in pixels of the input.
        size: cells a side.
        scale: cells of `features` per pixel.
        sampling_ratio: points per cell and axis; 0 for as many as a cell has pixels, rounded up.
        aligned: pixel centres are at half numbers; without, regions are half a pixel off and at
            least one long.

    Source: He et al. 2017 (Mask R-CNN), section 3; torchvision's conventions.
    """
    if features.device.type != "cpu" or features.dtype != torch.float32 or _is_traced():
        return torchvision_roi_align(  # type: ignore[operator] - torch.fx has wrapped it
            features, rows, size, scale, sampling_ratio, aligned
        )
    rows = rows.detach()
    table = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    corners = rows[:, 1:] * scale - (0.5 if aligned else 0.0)
    low, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1)
    points = torch.full_like(extent, sampling_ratio) if sampling_ratio else (extent / size).ceil()
    kinds, kind_of = points.long().unique(dim=0, return_inverse=True)
    parts, places = [features.new_zeros(0, features.shape[1], size, size)], []
    for kind, (across, down) in enumerate(kinds.tolist()):
        own = (kind_of == kind).nonzero().squeeze(1)
        places.append(own)
        if not 0 < across * down <= MOST_POINTS:
            parts.append(
                torchvision_roi_align(  # type: ignore[operator]
                    features, rows[own], size, scale, sampling_ratio, aligned
                )
            )
            continue
        columns = _along_axis(low[own, 0], extent[own, 0], size, across, features.shape[3])
        lines = _along_axis(low[own, 1], extent[own, 1], size, down, features.shape[2])
        parts.append(_gathered(table, rows[own, 0].long(), lines, columns, features.shape))
    pooled = torch.cat(parts)
    return pooled if len(places) < 2 else pooled[torch.cat(places).argsort()]


def _is_traced() -> bool:
    """Whether a graph is being made, in which torchvision's operator stands as one node."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def _along_axis(low: Tensor, extent: Tensor, size: int, points: int, length: int) -> Weights:
    """The two pixels beside each of `points` samples of each of `size` cells from `low` (N,) on.

    Samples outside of [-1, length] count as zero, those in its margins as the pixel at the edge.
    """
    steps = (torch.arange(size * points, dtype=low.dtype) + 0.5) / points
    place = low[:, None] + steps * (extent / size)[:, None]
    inside = ((place >= -1) & (place <= length)).to(low.dtype) / points
    place = place.clamp(0, length - 1)
    below = place.floor()
    share = place - below
    before = below.long()
    after = (before + 1).clamp(max=length - 1)
    indices = torch.stack([before, after], dim=-1).view(len(low), size, 2 * points)
    weights = torch.stack([(1 - share) * inside, share * inside], dim=-1)
    return indices, weights.view(len(low), size, 2 * points)


def _gathered(
    table: Tensor, images: Tensor, lines: Weights, columns: Weights, shape: torch.Size
) -> Tensor:
    """Cells (N, channels, size, size) from the `table` (B * height * width, channels)."""
    (y, y_weights), (x, x_weights) = lines, columns
    _, channels, height, width = shape
    start = images[:, None, None] * (height * width) + y * width
    pixels = (
        start[:, :, None, :, None] + x[:, None, :, None, :]
    )  # (N, size, size, 2 down, 2 across)
    weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
    entries = y.shape[2] * x.shape[2]
    cells = functional.embedding_bag(
        pixels.reshape(-1, entries),
        table,
        per_sample_weights=weights.reshape(-1, entries),
        mode="sum",
    )
    count, size = y.shape[:2]
    return cells.view(count, size * size, channels).transpose(1, 2).reshape(count, -1, size, size)

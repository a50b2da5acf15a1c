"""What exported detectors of one and of two stages do alike, for a batch of any size at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dense_lt.models.pyramid import PixelNormalizer


class Kept(NamedTuple):
    """D entries (image, class, row) of scores (B, C, n), image after image and best first."""

    images: Tensor  # (D,) int64
    labels: Tensor  # (D,) int64
    rows: Tensor  # (D,) int64
    scores: Tensor  # (D,)


def normalized(normalizer: PixelNormalizer, pixels: Tensor, sizes: Tensor) -> Tensor:
    """As `normalizer`, of `pixels` (B, 3, H, W) that are filled up to `sizes` (B, 2)."""
    height, width = pixels.shape[-2:]
    rows = torch.arange(height, device=pixels.device) < sizes[:, :1]  # (B, H)
    columns = torch.arange(width, device=pixels.device) < sizes[:, 1:]
    image = rows[:, None, :, None] & columns[:, None, None, :]
    return (pixels - normalizer.mean) / normalizer.std * image


def clipped(boxes: Tensor, sizes: Tensor) -> Tensor:
    """`boxes` (B, ..., 4) moved into their images of `sizes` (B, 2)."""
    corner = sizes.flip(1).repeat(1, 2).float()  # (B, 4) w, h, w, h
    corner = corner.reshape(-1, *(1 for _ in boxes.shape[1:-1]), 4)
    return boxes.clamp(min=0).minimum(corner)


def least(limit: int, count: int) -> int:
    """The lesser of both; `count` may be a symbol, which `min` would look at."""
    return torch.sym_min(limit, count)  # type: ignore[return-value]


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """(B, R, n) at `rows` (B, k) -> (B, k, n)."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))


def best_kept(scores: Tensor, kept: Tensor, *, threshold: float, most: int) -> Kept:
    """The best entries of each image.

    Args:
        scores: (B, C, n).
        kept: (k, 3) entries of it that were not suppressed.
        threshold: scores must lie above it.
        most: of an image.
    """
    places = kept.unbind(1)
    best = torch.zeros_like(scores).index_put(places, scores[places]).flatten(1)
    best, entries = best.topk(least(most, best.shape[1]))
    images, ranks = (best > threshold).nonzero().unbind(1)
    entries, count = entries[images, ranks], scores.shape[2]
    labels = entries // count
    rows = entries - labels * count  # a remainder by a symbol is not translated
    return Kept(images, labels, rows, best[images, ranks])

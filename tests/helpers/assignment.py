"""Priors and objects that the tests of all assigners share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dense_lt.models.assigners.forecast import ClassScores, Forecast
from dense_lt.models.priors import PriorGenerator
from dense_lt.structures import Priors

STRIDES = (8, 16, 32)


def priors_of(
    size: tuple[int, int], *, scales: Sequence[float] = (4.0,), ratios: Sequence[float] = (1.0,)
) -> Priors:
    """Three levels on an input of `size` (height, width)."""
    generator = PriorGenerator(STRIDES, scales=scales, ratios=ratios)
    return generator.for_image_size(size, torch.device("cpu"))


def random_boxes(seed: int, count: int, size: tuple[int, int]) -> Tensor:
    """Objects (count, 4) of 4 pixels to 70 % of the shorter side, cut off at the border."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    centers = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    sides = 4 + torch.rand(count, 2, generator=generator) * min(size) * 0.7
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], dim=1)
    return boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))


def random_forecast(seed: int, priors: Priors, num_classes: int) -> Forecast:
    """Scores and boxes around the priors, as a network might predict."""
    generator = torch.Generator().manual_seed(seed + 1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    boxes = priors.boxes
    sizes = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = boxes + (uniform(*boxes.shape) - 0.5) * 0.6 * sizes
    scores = uniform(len(boxes), num_classes) ** 3
    return forecast_of(moved, scores, uniform(len(boxes)))


def forecast_of(boxes: Tensor, scores: Tensor, quality: Tensor | None = None) -> Forecast:
    """`scores` (R, C) as they are, on two levels; without `quality` it is 1."""
    levels = scores.tensor_split([len(scores) // 3])
    table = ClassScores(levels, lambda own: own, scores.shape[1])
    return Forecast(boxes, table, torch.ones(len(scores)) if quality is None else quality)

"""Box geometry: thin names over torchvision, and what it lacks. xyxy, pixels, float."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_area, box_iou, clip_boxes_to_image, generalized_box_iou_loss

__all__ = [
    "box_area",
    "box_iou",
    "centerness",
    "centers",
    "clip_boxes_to_image",
    "generalized_box_iou_loss",
    "paired_iou",
    "rescale_boxes",
]


def centers(boxes: Tensor) -> Tensor:
    """Centres (..., 2) as (x, y) of `boxes` (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """How central `points` (..., 2) lie in `boxes` (..., 4): (...) in [0, 1].

    The root of (nearer / farther side) in x times the same in y: 1 in the middle of its box, 0 on
    a side and outside.

    Source: Tian et al. 2019 (FCOS), equation 3.
    """
    before, after = points - boxes[..., :2], boxes[..., 2:] - points  # left, top; right, bottom
    farther = torch.maximum(before, after).clamp(min=torch.finfo(boxes.dtype).tiny)
    return (torch.minimum(before, after).clamp(min=0) / farther).prod(-1).sqrt()


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU in [0, 1] of box i of `first` with box i of `second`: (..., 4) and (..., 4) -> (...).

    Two boxes without area have IoU 0.
    """
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    union = areas[0] + areas[1] - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def rescale_boxes(boxes: Tensor, from_size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) after the image goes from one (height, width) to another."""
    y, x = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return boxes * boxes.new_tensor([x, y, x, y])

"""From many scored boxes to few: best candidates, class-wise NMS, cap per image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

FIRST_PREFIX = 1000
"""Candidates that are tried first; enough in nearly every image for a cap of 300."""

BOXES_AT_ONCE = 2**14
"""Candidates of whole classes that one call suppresses; on a GPU it holds a bit for every pair."""

PAIRS_AT_ONCE = 2**22
"""Pairs of boxes that vote together."""

LEAST_OVERLAP = 0.01
"""IoU above which a box has a vote."""


def top_entries(
    scores: Tensor, count: int, threshold: float, *, floor: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The best entries of a score matrix, best first.

    Args:
        scores: (R, C) float32 in [0, 1].
        count: how many at most.
        threshold: entries must lie above it.
        floor: () a score that at least `count` entries reach, if one is known; saves time.

    Returns:
        scores (n,), rows (n,) int64, columns (n,) int64.
    """
    flat = scores.flatten()
    wanted = flat > threshold if floor is None else (flat > threshold) & (flat >= floor)
    entries = wanted.nonzero().squeeze(1)
    values, order = flat[entries].topk(min(count, len(entries)))
    flat = entries[order]
    columns = scores.shape[1]
    return values, flat // columns, flat % columns


def class_wise_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, *, iou_threshold: float, max_kept: int
) -> Tensor:
    """Greedy non-maximum suppression within each class, then the best over all classes.

    Classes are moved apart by multiples of a power of two, in float64: with more than a thousand
    classes a float32 offset leaves a grid of half a pixel inside the suppression. Greedy
    suppression of the best n boxes does not depend on the others, so growing prefixes are tried
    until enough boxes survive: exact, and mostly a thousand boxes instead of tens of thousands.
    Long prefixes are cut between classes, so that memory does not grow with their square.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,); equal scores keep their order.
        labels: (N,) int64.
        iou_threshold: an overlap above it suppresses.
        max_kept: how many survive at most.

    Returns:
        (n,) int64: indices of the survivors, best first.
    """
    if boxes.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    scores, order = scores.sort(descending=True, stable=True)
    labels = labels[order]
    spread = _separate(boxes[order].double(), labels)
    scores = scores.double()
    prefix = min(FIRST_PREFIX, len(order))
    while True:
        kept = _suppress(spread[:prefix], scores[:prefix], labels[:prefix], iou_threshold)
        if len(kept) >= max_kept or prefix == len(order):
            return order[kept[:max_kept]]
        prefix = min(4 * prefix, len(order))


def vote(boxes: Tensor, scores: Tensor, labels: Tensor, *, kept: Tensor, variance: float) -> Tensor:
    """The boxes of `kept` (n,), moved to where those of their class that overlap them are: (n, 4).

    A box of IoU u > 0.01 with a kept one weighs its score times exp(-(1 - u)^2 / `variance`).

    Source: Kim and Lee 2020 (PAA), section 3.3; there a score is the root of class times IoU.
    """
    moved = []
    for some in kept.split(max(1, PAIRS_AT_ONCE // max(len(boxes), 1))):
        iou = box_iou(boxes[some], boxes)  # (m, N)
        weights = scores * torch.exp(-((1 - iou) ** 2) / variance)
        weights *= (labels[some, None] == labels) & (iou > LEAST_OVERLAP)
        weights[torch.arange(len(some)), some] += torch.finfo(weights.dtype).tiny  # score 0
        moved.append(weights @ boxes / weights.sum(1, keepdim=True))
    return torch.cat(moved) if moved else boxes[kept]


def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Survivors, in order, of `boxes` (N, 4) that come best first and apart from class to class."""
    if len(boxes) <= BOXES_AT_ONCE:
        return nms(boxes, scores, iou_threshold)
    counts = labels.bincount()
    piece = (counts.cumsum(0) - counts) // BOXES_AT_ONCE  # of each class
    sizes = piece.bincount(weights=counts.double()).long().tolist()
    pieces = labels.argsort(stable=True).split(sizes)
    kept = [own[nms(boxes[own], scores[own], iou_threshold)] for own in pieces if len(own)]
    return torch.cat(kept).sort().values


def _separate(boxes: Tensor, labels: Tensor) -> Tensor:
    """Shift the boxes of every class so that no two classes overlap."""
    low, high = boxes.min(), boxes.max()
    extent = 2.0 ** math.ceil(math.log2(max(float(high - low), 1.0) + 1.0))
    return boxes + (labels.to(boxes.dtype) * extent)[:, None]

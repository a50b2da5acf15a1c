"""Adaptive training sample selection: every object sets its own IoU threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.ops.boxes import centers, paired_iou
from dense_lt.ops.matching import BACKGROUND
from dense_lt.structures import Priors

OBJECTS_AT_ONCE = 256
"""Objects whose distances are held together; bounds the memory of crowded images."""

INSIDE_MARGIN = 0.01
"""How far, in pixels, a prior's centre must lie inside a box."""

HALF_PIXEL = 0.5
"""What inclusive coordinates take from a box on every side of the pixels' centres."""


class AtssAssigner:
    """Candidates are the nearest priors of each level; positives have IoU >= mean + std of them.

    A positive prior's centre must lie inside the object. A prior claimed by several objects goes
    to the one with the highest IoU (the first of equals).

    Source: Zhang et al. 2020, algorithm 1. Distances are between centres, the standard deviation
    is the unbiased one, and a level with fewer than `top_k` priors gives all it has.

    Legacy coordinates name the first and the last pixel of a box, and measure x2 - x1 + 1. IoU,
    distances and codes are the same as those of the box from edge to edge; but a centre lies inside
    if it does so within the centres of the outer pixels: half a pixel less on every side.
    """

    def __init__(self, top_k: int = 9, *, legacy: bool = False) -> None:
        """`top_k`: candidates per object and level, of all its priors; `legacy`: see above."""
        self.top_k = top_k
        self.margin = INSIDE_MARGIN + (HALF_PIXEL if legacy else 0.0)

    @torch.no_grad()
    def __call__(self, priors: Priors, boxes: Tensor) -> Tensor:
        """See `Assigner`. Memory: R x min(M, 256) distances, and top_k x L x M candidates."""
        matches = torch.full((len(priors.boxes),), BACKGROUND, device=boxes.device)
        if len(boxes) == 0:
            return matches
        best = torch.full((len(priors.boxes),), -1.0, device=boxes.device)
        for start in range(0, len(boxes), OBJECTS_AT_ONCE):
            some = boxes[start : start + OBJECTS_AT_ONCE]
            rows, columns, iou = self._claims(priors, some)
            # -1 sends candidates that are no positives to the end of the comparison
            best_here = torch.full_like(best, -1.0).scatter_reduce_(0, rows, iou, "amax")
            winners = (iou >= 0) & (iou == best_here[rows])
            objects = torch.where(winners, columns + start, torch.iinfo(torch.int64).max)
            first = torch.full_like(matches, torch.iinfo(torch.int64).max)
            first.scatter_reduce_(0, rows, objects, "amin")
            better = best_here > best
            matches = torch.where(better, first, matches)
            best = torch.maximum(best, best_here)
        return matches

    def _claims(self, priors: Priors, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates of `boxes` (M, 4): prior (n,), object (n,), IoU (n,) or -1 if not positive."""
        points = centers(priors.boxes)
        distances = torch.cdist(
            points, centers(boxes), compute_mode="donot_use_mm_for_euclid_dist"
        )  # (R, M)
        candidates, start = [], 0
        for level in priors.split(distances):
            k = min(self.top_k, len(level))
            candidates.append(level.topk(k, dim=0, largest=False).indices + start)
            start += len(level)
        rows = torch.cat(candidates)  # (k x L, M)
        iou = paired_iou(priors.boxes[rows], boxes)
        deviation = iou.std(dim=0) if len(rows) > 1 else torch.zeros_like(iou[0])
        inside = torch.cat([points[rows] - boxes[:, :2], boxes[:, 2:] - points[rows]], dim=-1).amin(
            -1
        )
        positive = (iou >= iou.mean(dim=0) + deviation) & (inside > self.margin)
        iou = torch.where(positive, iou, -1.0)
        columns = torch.arange(len(boxes), device=boxes.device).expand_as(rows)
        return rows.flatten(), columns.flatten(), iou.flatten()

"""Task-aligned assignment: the priors that both classify and place an object best learn it."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.models.assigners.base import pieces
from dense_lt.models.assigners.forecast import Claims, Forecast, PredictionAssigner
from dense_lt.ops.boxes import box_iou, centers
from dense_lt.ops.matching import BACKGROUND
from dense_lt.structures import Priors


class TaskAlignedAssigner(PredictionAssigner):
    """The `top_k` priors of the greatest score^alpha x IoU^beta, with their centre in the object.

    The score is that of the object's class, the IoU that of the predicted box. A prior that
    several objects take goes to the one with the highest IoU (the first of equals). Quality losses
    get as target this alignment, scaled so that the best of each object is its highest IoU.

    Source: Feng et al. 2021 (TOOD), section 3.2; candidates lie inside their object before the best
    are taken, as in later detectors.
    """

    def __init__(self, *, top_k: int = 13, alpha: float = 1.0, beta: float = 6.0) -> None:
        """State the exponents; see the class."""
        self.top_k = top_k
        self.alpha = alpha
        self.beta = beta

    @torch.no_grad()
    def __call__(self, priors: Priors, boxes: Tensor, labels: Tensor, forecast: Forecast) -> Claims:
        """See `PredictionAssigner`. Memory: that of `PAIRS_AT_ONCE` alignments, whatever R, M."""
        best_iou = boxes.new_full((len(priors.boxes),), -1.0)
        alignment = torch.zeros_like(best_iou)
        matches = torch.full_like(best_iou, BACKGROUND, dtype=torch.int64)
        points = centers(priors.boxes)[:, None]  # (R, 1, 2)
        for start, some in pieces(boxes, len(points)):
            iou = box_iou(forecast.boxes, some)  # (R, m)
            scores = forecast.scores(labels=labels[start : start + len(some)])
            aligned = scores**self.alpha * iou**self.beta
            sides = torch.cat([points - some[:, :2], some[:, 2:] - points], dim=-1)
            aligned = aligned.masked_fill(sides.amin(-1) <= 0, 0.0)
            values, rows = aligned.topk(min(self.top_k, len(aligned)), dim=0)  # (k, m)
            taken = torch.zeros_like(aligned, dtype=torch.bool).scatter_(0, rows, values > 0)
            highest, index = iou.masked_fill(~taken, -1.0).max(dim=1)
            better = highest > best_iou
            matches = torch.where(better, index + start, matches)
            own = aligned.gather(1, index[:, None]).squeeze(1)
            alignment = torch.where(better, own, alignment)
            best_iou = torch.maximum(best_iou, highest)
        return Claims(matches, _scaled(alignment, best_iou, matches, len(boxes)))


def _scaled(alignment: Tensor, iou: Tensor, matches: Tensor, num_objects: int) -> Tensor:
    """(R,) `alignment` over the best of its object, times the highest IoU of that; else 0."""
    positive = matches >= 0
    objects = torch.where(positive, matches, num_objects)
    zeros = alignment.new_zeros(num_objects + 1)
    best = zeros.scatter_reduce(0, objects, alignment, "amax")[objects]
    highest = zeros.scatter_reduce(0, objects, iou.clamp(min=0), "amax")[objects]
    scaled = alignment / best.clamp(min=torch.finfo(best.dtype).tiny) * highest
    return torch.where(positive, scaled, 0.0)

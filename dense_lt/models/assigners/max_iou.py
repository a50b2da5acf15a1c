"""Two thresholds on the IoU of a prior with the object that it overlaps most."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.models.assigners.base import pieces
from dense_lt.ops.boxes import box_iou
from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.structures import Priors


class MaxIoUAssigner:
    """Positive from one IoU on, background below another, ignored between the two.

    A prior learns the object with which it has the highest IoU (the first of equals). With the
    low-quality rule the priors of highest IoU with an object (all of equals) are positive however
    small that IoU is, as long as it is above 0; they too learn the object that they themselves
    overlap most, so an object whose best prior overlaps another one more may still have none.

    Source: Lin et al. 2017 (RetinaNet), section 4; the low-quality rule is that of the authors'
    code (Detectron), except that an object which no prior overlaps claims none.
    """

    def __init__(
        self,
        *,
        positive_iou: float = 0.5,
        background_iou: float = 0.4,
        low_quality: bool = True,
    ) -> None:
        """State the thresholds; equal ones ignore nothing."""
        self.positive_iou = positive_iou
        self.background_iou = background_iou
        self.low_quality = low_quality

    @torch.no_grad()
    def __call__(self, priors: Priors, boxes: Tensor) -> Tensor:
        """See `Assigner`. Memory: that of `PAIRS_AT_ONCE` IoUs, whatever R and M."""
        best = boxes.new_zeros(len(priors.boxes))
        nearest = torch.zeros_like(best, dtype=torch.int64)
        peaks = torch.zeros_like(best, dtype=torch.bool)
        for start, some in pieces(boxes, len(best)):
            iou = box_iou(priors.boxes, some)  # (R, m)
            highest, index = iou.max(dim=1)
            nearest = torch.where(highest > best, index + start, nearest)
            best = torch.maximum(best, highest)
            if self.low_quality:
                peaks |= ((iou == iou.amax(dim=0)) & (iou > 0)).any(dim=1)
        matches = torch.where(best < self.background_iou, BACKGROUND, IGNORE)
        return torch.where(peaks | (best >= self.positive_iou), nearest, matches)

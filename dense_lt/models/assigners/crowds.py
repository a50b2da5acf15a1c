"""Regions that hold unmarked objects: what lies in them is no background."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.models.assigners.base import pieces
from dense_lt.ops.boxes import box_area
from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.structures import Target

INSIDE = 0.5
"""A box is inside a region that covers so much of its area, as in the metric of Open Images."""


@torch.no_grad()
def ignore_crowds(matches: Tensor, boxes: Tensor, target: Target) -> Tensor:
    """Ignore background inside the crowd regions of an image; what learns an object still does.

    A box that no single region covers by half stays background. The fraction is of the box's own
    area, since a region is much larger than one of the objects in it. Whatever its class, nothing
    is learnt inside: what is found there of other classes is not held down either.

    Args:
        matches: (R,) int64: an index of an object, or BACKGROUND, or IGNORE.
        boxes: (R, 4) of priors or proposals, R at least 1.
        target: of the image; without "ignored" the matches come back as they are.

    Returns:
        (R,) int64. Memory: that of `PAIRS_AT_ONCE` pairs, whatever R and the number of regions.

    Source: Detectron (Girshick et al. 2018), which leaves out proposals from 0.7 on; from 0.5 on
    AP50 of COCO and the metric of Open Images forgive detections.
    """
    if "ignored" not in target:
        return matches
    enough = INSIDE * box_area(boxes)
    inside = torch.zeros_like(matches, dtype=torch.bool)
    left, top, right, bottom = boxes.T.contiguous()
    for _, some in pieces(target["ignored"], len(boxes)):
        x1, y1, x2, y2 = some.T[:, :, None]  # (m, 1) each
        width = (torch.minimum(right, x2) - torch.maximum(left, x1)).clamp_(min=0)
        height = (torch.minimum(bottom, y2) - torch.maximum(top, y1)).clamp_(min=0)
        shared = (width * height).amax(dim=0)  # (R,)
        inside |= (shared >= enough) & (shared > 0)
    return torch.where(inside & (matches == BACKGROUND), IGNORE, matches)

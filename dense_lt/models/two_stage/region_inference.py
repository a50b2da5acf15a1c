"""From region outputs to detections: score, decode, suppress, cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dense_lt.losses.regions.base import RegionClassificationLoss
from dense_lt.models.two_stage.box_head import RegionPredictions
from dense_lt.models.two_stage.regions import Regions
from dense_lt.ops.box_coding import BoxCoder
from dense_lt.ops.boxes import clip_boxes_to_image
from dense_lt.ops.selection import class_wise_nms
from dense_lt.structures import Detections, Size

SMALLEST_SIDE = 1e-2
"""Boxes narrower or lower than this, in pixels, are dropped (torchvision)."""


class RegionLimits(NamedTuple):
    """How many survive; the fields are those of `RegionInferenceConfig`."""

    score_threshold: float = 1e-4
    nms_iou: float = 0.5
    max_detections: int = 300


class RegionInference:
    """Scores, thresholds, decodes, clips and selects; one list entry per image.

    Only boxes of (region, class) pairs above the threshold are decoded; suppression within each
    class is exact and one call for all of them.
    """

    def __init__(
        self,
        *,
        classification: RegionClassificationLoss,
        coder: BoxCoder,
        limits: RegionLimits,
        proposal_scores: bool = False,
    ) -> None:
        """State what outputs mean.

        Args:
            classification: says what the logits mean; it is only asked for scores.
            coder: of boxes.
            limits: how many survive.
            proposal_scores: a score is the geometric mean of that of the class and that of the
                proposal (Zhou et al. 2021).
        """
        self.classification = classification
        self.coder = coder
        self.limits = limits
        self.proposal_scores = proposal_scores

    @torch.no_grad()
    def __call__(
        self, predictions: RegionPredictions, regions: Regions, sizes: Sequence[Size]
    ) -> list[Detections]:
        """Detections of every image, in the pixels of the network input; `sizes` before padding."""
        scores = self.classification.scores(predictions.logits)
        return self.select(scores, predictions.codes, regions, sizes)

    @torch.no_grad()
    def select(
        self, scores: Tensor, codes: Tensor, regions: Regions, sizes: Sequence[Size]
    ) -> list[Detections]:
        """The same from `scores` (N, C) and `codes` (N, C or 1, 4) of N `regions`."""
        with torch.autocast(regions.boxes.device.type, enabled=False):
            if self.proposal_scores:
                assert regions.scores is not None, "detectors hand them on"
                scores = (scores * regions.scores[:, None]).sqrt()
            counts = regions.counts(len(sizes))
            columns = (scores, codes, regions.boxes)
            images = zip(*(column.split(counts) for column in columns), sizes, strict=True)
            return [self._one(*image) for image in images]

    def _one(self, scores: Tensor, codes: Tensor, regions: Tensor, size: Size) -> Detections:
        """Of one image: scores (n, C), codes (n, C or 1, 4), regions (n, 4)."""
        rows, labels = (scores > self.limits.score_threshold).nonzero(as_tuple=True)
        scores = scores[rows, labels]
        codes = RegionPredictions(scores, codes).codes_of(rows, labels)
        boxes = clip_boxes_to_image(self.coder.decode(codes, regions[rows]), size)
        large = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(dim=1)
        boxes, scores, labels = boxes[large], scores[large], labels[large]
        kept = class_wise_nms(
            boxes,
            scores,
            labels,
            iou_threshold=self.limits.nms_iou,
            max_kept=self.limits.max_detections,
        )
        return Detections(boxes[kept], scores[kept], labels[kept])

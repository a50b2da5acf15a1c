"""From raw dense outputs to detections: score, select, decode, suppress, cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dense_lt.losses.base import ClassificationLoss
from dense_lt.ops.box_coding import BoxCoder
from dense_lt.ops.boxes import clip_boxes_to_image
from dense_lt.ops.selection import class_wise_nms, top_entries, vote
from dense_lt.structures import DensePredictions, Detections, Priors, Size

CANDIDATES = 1000
"""Boxes of an image that `DenseInference.candidates` gives, as many as there are proposals."""

ROUNDING = 1e-6
"""What one and the same score may differ by when it is computed among others."""


class SelectionLimits(NamedTuple):
    """How many survive; the fields are those of `InferenceConfig`."""

    score_threshold: float = 0.0
    pre_nms_top_k: int = 6000
    nms_iou: float = 0.5
    max_detections: int = 300
    score_voting: float | None = None
    pre_nms_at_most_priors: bool = False


class DenseInference:
    """Scores, thresholds, decodes, clips and selects; one list entry per image.

    Candidates are chosen before boxes are decoded, per level, so that the number of classes
    decides neither the decoding nor the suppression. Everything runs in float32.
    """

    def __init__(
        self, *, classification: ClassificationLoss, coder: BoxCoder, limits: SelectionLimits
    ) -> None:
        """`classification` says what the logits mean; it is only asked for scores."""
        self.classification = classification
        self.coder = coder
        self.limits = limits

    @torch.no_grad()
    def __call__(
        self, predictions: DensePredictions, priors: Priors, sizes: Sequence[Size]
    ) -> list[Detections]:
        """Detections of every image, in the pixels of the network input; `sizes` before padding."""
        with torch.autocast(priors.boxes.device.type, enabled=False):
            return [self._one(predictions, priors, i, size) for i, size in enumerate(sizes)]

    @torch.no_grad()
    def candidates(
        self, predictions: DensePredictions, priors: Priors, sizes: Sequence[Size]
    ) -> list[Tensor]:
        """Boxes (n, 4) of each image's CANDIDATES best priors, best first; nothing is suppressed.

        A prior is as good as its best class, times its quality.
        """
        with torch.autocast(priors.boxes.device.type, enabled=False):
            codes = torch.cat(predictions.codes, dim=1)
            found = []
            for image, size in enumerate(sizes):
                levels = range(len(predictions.logits))
                best = torch.cat([self._best(predictions, image, level)[0] for level in levels])
                rows = best.topk(min(CANDIDATES, len(best))).indices
                boxes = self.coder.decode(codes[image, rows], priors.boxes[rows])
                found.append(clip_boxes_to_image(boxes, size))
            return found

    def _best(self, predictions: DensePredictions, index: int, level: int) -> tuple[Tensor, Tensor]:
        """Of each prior (R_l,) its best score, and the factor from its quality in it."""
        logits = predictions.logits[level][index]  # (R_l, K)
        factor = torch.ones_like(predictions.codes[level][index, :, 0], dtype=torch.float32)
        if predictions.quality is not None:
            factor = predictions.quality[level][index].float().sigmoid()
        return self.classification.best_scores(logits) * factor, factor

    def _one(
        self, predictions: DensePredictions, priors: Priors, index: int, size: Size
    ) -> Detections:
        levels = [
            self._candidates(predictions, prior_boxes, index, level)
            for level, prior_boxes in enumerate(priors.split(priors.boxes))
        ]
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*levels, strict=True))
        boxes = clip_boxes_to_image(boxes, size)
        visible = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # not wholly in the padding
        boxes, scores, labels = boxes[visible], scores[visible], labels[visible]
        kept = class_wise_nms(
            boxes,
            scores,
            labels,
            iou_threshold=self.limits.nms_iou,
            max_kept=self.limits.max_detections,
        )
        placed = boxes[kept]
        if self.limits.score_voting is not None:
            # PAA's score is the root of class times quality: the same order, other shares
            shares = scores if predictions.quality is None else scores.sqrt()
            placed = vote(boxes, shares, labels, kept=kept, variance=self.limits.score_voting)
        return Detections(placed, scores[kept], labels[kept])

    def _candidates(
        self, predictions: DensePredictions, prior_boxes: Tensor, index: int, level: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, 4), scores (n,), labels (n,) of one level of one image."""
        logits, most = predictions.logits[level][index], self.limits.pre_nms_top_k  # (R_l, K)
        if self.limits.pre_nms_at_most_priors:
            most = min(most, len(logits))
        best, factor = self._best(predictions, index, level)
        # The best n entries lie in the n rows with the best entries, and are not below the last of
        # these: scores are made and compared for few rows, not for all.
        values, rows = best.topk(min(most, len(best)))
        rows = rows[values > self.limits.score_threshold]
        scores = self.classification.scores(logits[rows]) * factor[rows, None]
        floor = values[-1] * (1 - ROUNDING) if len(values) == most else None
        scores, picked, labels = top_entries(scores, most, self.limits.score_threshold, floor=floor)
        rows = rows[picked]
        boxes = self.coder.decode(predictions.codes[level][index, rows], prior_boxes[rows])
        return boxes, scores, labels

"""A one-stage detector from pixels to boxes, for any number of images, without Python in between.

What `OneStageDetector` and `DenseInference` do image by image is done here for a batch at once, in
operations that torch.export and ONNX have. Sizes may be symbols: nothing looks at their values.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dense_lt.export.batched import best_kept, clipped, least, normalized, rows_of
from dense_lt.export.score_rule import ScoreRule
from dense_lt.export.suppression import Suppression
from dense_lt.models.one_stage import OneStageDetector
from dense_lt.ops.boxes import box_area
from dense_lt.ops.selection import LEAST_OVERLAP


class Level(NamedTuple):
    """What the head says on one level of the pyramid."""

    logits: Tensor  # (B, R, K)
    codes: Tensor  # (B, R, 4)
    quality: Tensor | None  # (B, R) logits
    priors: Tensor  # (R, 4)


class RawOutput(nn.Module):
    """Scores and boxes of every prior.

    Objectness, the predicted quality of the box and calibration are in the scores; boxes are
    decoded and clipped to their image, so that one wholly in the padding has no area.
    """

    names = ("scores", "boxes")

    def __init__(self, detector: OneStageDetector, rule: ScoreRule | None = None) -> None:
        """Share the weights of `detector`; `rule` calibrates its scores."""
        super().__init__()
        self.normalizer = detector.normalizer
        self.pyramid = detector.pyramid
        self.head = detector.head
        self.rule = rule
        self._priors = detector.priors
        self._classification = detector.inference.classification
        self._coder = detector.inference.coder
        self.limits = detector.inference.limits

    def forward(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Find objects.

        Args:
            pixels: (B, 3, H, W) uint8, RGB, padded right and bottom.
            sizes: (B, 2) int64 height and width of each image before padding.

        Returns:
            scores (B, R, C) and boxes (B, R, 4) xyxy in pixels of the input, float32.
        """
        levels = self.levels(pixels, sizes)
        boxes = torch.cat([self._boxes(level.codes, level.priors, sizes) for level in levels], 1)
        scores = torch.cat([self._scores(level.logits, level.quality) for level in levels], 1)
        return scores, boxes

    def levels(self, pixels: Tensor, sizes: Tensor) -> list[Level]:
        """What the head says, level by level, finest first."""
        maps = self.pyramid(normalized(self.normalizer, pixels, sizes))
        predictions = self.head(maps)
        priors = self._priors.boxes_of_levels([level.shape[-2:] for level in maps], pixels.device)
        quality = predictions.quality or [None] * len(maps)
        columns = zip(predictions.logits, predictions.codes, quality, priors, strict=True)
        return [Level(*level) for level in columns]

    def _scores(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """(B, n, K) logits -> (B, n, C)."""
        scores = self._classification.scores(logits)
        if quality is not None:
            scores = scores * quality.float().sigmoid()[..., None]
        return scores if self.rule is None else self.rule(scores)

    def _boxes(self, codes: Tensor, priors: Tensor, sizes: Tensor) -> Tensor:
        """(B, n, 4) codes -> boxes inside their images of `sizes` (B, 2)."""
        return clipped(self._coder.decode(codes, priors), sizes)


class DetectionOutput(RawOutput):
    """The detections of a batch, selected as `DenseInference` does."""

    names = ("boxes", "scores", "labels", "images")

    def __init__(
        self,
        detector: OneStageDetector,
        suppress: Suppression,
        rule: ScoreRule | None = None,
    ) -> None:
        """As `RawOutput`; `suppress` is one of `suppression.py`."""
        super().__init__(detector, rule)
        self._suppress = suppress

    def forward(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Find objects.

        Args:
            pixels: (B, 3, H, W) uint8, RGB, padded right and bottom.
            sizes: (B, 2) int64 height and width of each image before padding.

        Returns:
            boxes (D, 4) xyxy in pixels of the input, scores (D,) float32, labels (D,) and images
            (D,) int64, image after image and best first.
        """
        parts = [self._candidates(level, sizes) for level in self.levels(pixels, sizes)]
        boxes, scores = (torch.cat(own, 1) for own in zip(*parts, strict=True))
        visible = (boxes[..., 2:] > boxes[..., :2]).all(-1)  # not wholly in the padding
        scores = (scores * visible[..., None]).transpose(1, 2)  # (B, C, n)
        kept = self._suppress(
            boxes,
            scores,
            self.limits.nms_iou,
            self.limits.score_threshold,
            self.limits.max_detections,
        )
        images, labels, rows, best = best_kept(
            scores, kept, threshold=self.limits.score_threshold, most=self.limits.max_detections
        )
        placed = boxes[images, rows]
        if self.limits.score_voting is not None:
            shares = scores[images, labels]  # of all candidates of class and image
            shares = shares.sqrt() if self.head.predicts_quality else shares
            placed = _vote(placed, rows, shares, boxes[images], variance=self.limits.score_voting)
        return placed, best, labels, images

    def _candidates(self, level: Level, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, n, 4) and scores (B, n, C) of a level; 0 but for its best entries."""
        most, quality = self.limits.pre_nms_top_k, level.quality
        best = self._best_scores(level)
        if self.limits.pre_nms_at_most_priors:
            most = least(most, best.shape[1])
        # The best n entries lie in the n rows with the best entries.
        rows = best.topk(least(most, best.shape[1])).indices  # (B, n)
        logits, codes = (rows_of(values, rows) for values in (level.logits, level.codes))
        scores = self._scores(logits, None if quality is None else quality.gather(1, rows))
        entries = scores.flatten(1)
        floor = entries.topk(least(most, entries.shape[1])).values[:, -1:]
        scores = torch.where(scores >= floor[..., None], scores, 0.0)
        return self._boxes(codes, level.priors[rows], sizes), scores

    def _best_scores(self, level: Level) -> Tensor:
        """(B, R) the best score of each prior."""
        if self.rule is not None:  # whose order of classes is another
            return self._scores(level.logits, level.quality).amax(-1)
        best = self._classification.best_scores(level.logits)
        return best if level.quality is None else best * level.quality.float().sigmoid()


def _vote(kept: Tensor, rows: Tensor, scores: Tensor, boxes: Tensor, *, variance: float) -> Tensor:
    """As `ops.selection.vote`, with candidates of their own for every kept box.

    Args:
        kept: (D, 4).
        rows: (D,) its index among its candidates.
        scores: (D, n) shares of those of its class, 0 for those that are none.
        boxes: (D, n, 4).
        variance: see `vote`.
    """
    low = torch.maximum(kept[:, None, :2], boxes[..., :2])
    high = torch.minimum(kept[:, None, 2:], boxes[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)  # (D, n)
    iou = shared / (box_area(kept)[:, None] + _areas(boxes) - shared)
    weights = scores * torch.exp(-((1 - iou) ** 2) / variance) * (iou > LEAST_OVERLAP)
    own = torch.arange(boxes.shape[1], device=rows.device) == rows[:, None]
    weights = weights + own * torch.finfo(weights.dtype).tiny  # score 0
    return (weights[..., None] * boxes).sum(1) / weights.sum(1, keepdim=True)


def _areas(boxes: Tensor) -> Tensor:
    """(...,) of `boxes` (..., 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)

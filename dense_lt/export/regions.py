"""A two-stage detector from pixels to boxes and masks, for any number of images.

What `TwoStageDetector`, `CascadeDetector` and `RegionInference` do image by image is done here for
a batch at once; see `dense.py`. Every image has the same number P of proposals: those that it lacks
are boxes of no size whose scores are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from dense_lt.export.batched import best_kept, clipped, normalized
from dense_lt.export.proposing import Proposer
from dense_lt.export.score_rule import ScoreRule
from dense_lt.export.suppression import Suppression
from dense_lt.models.two_stage.cascade import CascadeDetector, Stage
from dense_lt.models.two_stage.detector import TwoStageDetector
from dense_lt.models.two_stage.proposals import ProposalNetwork
from dense_lt.models.two_stage.region_inference import SMALLEST_SIDE
from dense_lt.models.two_stage.regions import Regions


class Found(NamedTuple):
    """What the heads say of all proposals."""

    scores: Tensor  # (B, P, C)
    boxes: Tensor  # (B, P, C or 1, 4)
    proposals: Tensor  # (B, P, 4)
    maps: Sequence[Tensor]  # that regions are pooled from


class RegionOutput(nn.Module):
    """Class scores and boxes of every proposal.

    Objectness, where the loss has it, the proposal's score, where it counts, and calibration are in
    the scores; boxes are decoded for each class, or once for all, and clipped to their image.
    """

    names: tuple[str, ...] = ("scores", "boxes", "proposals")

    def __init__(
        self,
        detector: TwoStageDetector | CascadeDetector,
        suppress: Suppression,
        rule: ScoreRule | None = None,
    ) -> None:
        """Share the weights of `detector`.

        Args:
            detector: with a region proposal network.
            suppress: one of `suppression.py`.
            rule: calibrates the scores.
        """
        super().__init__()
        assert isinstance(detector.proposals, ProposalNetwork), "export.build refuses others"
        self.normalizer = detector.normalizer
        self.pyramid = detector.pyramid
        self.proposer = Proposer(detector.proposals, suppress)
        self.semantic = detector.semantic if isinstance(detector, CascadeDetector) else None
        stages = cast(
            Sequence[Stage | TwoStageDetector],
            detector.stages if isinstance(detector, CascadeDetector) else [detector],
        )
        self.heads = nn.ModuleList(stage.head for stage in stages)
        self._losses = tuple(stage.loss for stage in stages)
        self.rule = rule
        self.limits = detector.inference.limits
        self._proposal_scores = detector.inference.proposal_scores

    def forward(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Look at every proposal.

        Args:
            pixels: (B, 3, H, W) uint8, RGB, padded right and bottom.
            sizes: (B, 2) int64 height and width of each image before padding.

        Returns:
            scores (B, P, C), boxes (B, P, C or 1, 4) and proposals (B, P, 4), xyxy in pixels of the
            input, float32.
        """
        found = self.find(pixels, sizes)
        return found.scores, found.boxes, found.proposals

    def find(self, pixels: Tensor, sizes: Tensor) -> Found:
        """See `forward`."""
        maps = self.pyramid(normalized(self.normalizer, pixels, sizes))
        proposals, objectness = self.proposer(maps, sizes)
        if self.semantic is not None:
            maps, _ = self.semantic(maps, (), None)
        images = torch.arange(pixels.shape[0], device=pixels.device)
        images = images[:, None].expand(proposals.shape[:2]).flatten()
        boxes, every = proposals, []
        for head, loss in zip(self.heads, self._losses, strict=True):
            regions = Regions(boxes.flatten(0, 1), images)
            predictions = head(maps, regions)
            scores, codes = loss.classification.scores(predictions.logits), predictions.codes
            every.append(scores)
            more = loss is not self._losses[-1]
            if more:  # placed as the class that scores best
                rows = torch.arange(codes.shape[0], device=codes.device)
                codes = predictions.codes_of(rows, scores.argmax(1))[:, None]
            decoded = loss.coder.decode(codes, regions.boxes[:, None])
            boxes = clipped(decoded.unflatten(0, proposals.shape[:2]), sizes)
            boxes = boxes.squeeze(2) if more else boxes
        scores = torch.stack(every).mean(0).unflatten(0, proposals.shape[:2])
        return Found(self._scores(scores, objectness), boxes, proposals, maps)

    def _scores(self, scores: Tensor, objectness: Tensor) -> Tensor:
        """(B, P, C) of classes, with what else counts; `objectness` (B, P)."""
        if self._proposal_scores:
            scores = (scores * objectness[..., None]).sqrt()
        scores = scores * (objectness > 0)[..., None]
        return scores if self.rule is None else self.rule(scores)


class RegionDetectionOutput(RegionOutput):
    """The detections of a batch, selected as `RegionInference` does, and their masks."""

    names = ("boxes", "scores", "labels", "images")

    def __init__(
        self,
        detector: TwoStageDetector | CascadeDetector,
        suppress: Suppression,
        rule: ScoreRule | None = None,
    ) -> None:
        """See `RegionOutput`."""
        super().__init__(detector, suppress, rule)
        self._suppress = suppress
        self.mask_heads = nn.ModuleList(head for head, _ in detector.mask_heads)
        self._earlier = [len(earlier) for _, earlier in detector.mask_heads]
        if self.mask_heads:
            self.names = (*self.names, "masks")

    def forward(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Find objects.

        Args:
            pixels: (B, 3, H, W) uint8, RGB, padded right and bottom.
            sizes: (B, 2) int64 height and width of each image before padding.

        Returns:
            boxes (D, 4) xyxy in pixels of the input, scores (D,) float32, labels (D,) and images
            (D,) int64, image after image and best first; with a mask head also masks (D, 28, 28)
            float32, probabilities inside each box.
        """
        scores, boxes, _, maps = self.find(pixels, sizes)
        large = (boxes[..., 2:] - boxes[..., :2] >= SMALLEST_SIDE).all(-1)  # (B, P, C or 1)
        scores = (scores * large).transpose(1, 2)  # (B, C, P)
        boxes = boxes.transpose(1, 2)  # (B, C or 1, P, 4)
        images, labels, rows, best = best_kept(
            scores,
            self._kept(boxes, scores),
            threshold=self.limits.score_threshold,
            most=self.limits.max_detections,
        )
        placed = boxes[images, labels if boxes.shape[1] > 1 else torch.zeros_like(labels), rows]
        found = placed, best, labels, images
        return (*found, self._masks(maps, placed, labels, images)) if self.mask_heads else found

    def _kept(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """(k, 3) entries of `scores` (B, C, P) with `boxes` (B, C or 1, P, 4)."""
        limits, classes = self.limits, scores.shape[1]
        numbers = limits.nms_iou, limits.score_threshold, limits.max_detections
        if boxes.shape[1] == 1:
            return self._suppress(boxes[:, 0], scores, *numbers)
        # A class of an image is an image of one class: each has boxes of its own.
        kept = self._suppress(boxes.flatten(0, 1), scores.flatten(0, 1)[:, None], *numbers)
        groups, _, rows = kept.unbind(1)
        images = groups // classes
        return torch.stack([images, groups - images * classes, rows], dim=1)

    def _masks(
        self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor, images: Tensor
    ) -> Tensor:
        """(D, 28, 28) of detections: means over the heads, as `predict_masks` makes them."""
        regions, heads = Regions(boxes, images), list(self.mask_heads)
        masks = [
            head(maps, regions, labels, heads[:earlier]).sigmoid()
            for head, earlier in zip(heads, self._earlier, strict=True)
        ]
        return torch.stack(masks).mean(0)

"""From raw dense outputs and ground truth to losses: assign, then classify, place and rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.losses.base import ClassificationLoss
from dense_lt.losses.regression import BoxLoss, PlacedBoxes
from dense_lt.models.assigners.base import Assigner
from dense_lt.models.assigners.crowds import ignore_crowds
from dense_lt.models.assigners.forecast import (
    Claims,
    ClassScores,
    Forecast,
    PredictionAssigner,
)
from dense_lt.ops.box_coding import BoxCoder
from dense_lt.ops.boxes import centerness, centers, paired_iou
from dense_lt.ops.matching import labels_of_matches
from dense_lt.structures import DensePredictions, Losses, Priors, Target
from dense_lt.utils.distributed import normalizer_over_processes


class Assignment(NamedTuple):
    """What the priors of a batch learn."""

    labels: Tensor  # (B, R) int64 in [0, C), or BACKGROUND, or IGNORE
    images: Tensor  # (P,) int64: image of every positive, on CUDA of every prior
    rows: Tensor  # (P,) int64: its prior
    boxes: Tensor  # (P, 4) float32: its ground truth
    weights: Tensor  # (P,) float32: 1, and 0 for a prior that is not positive
    quality: Tensor | None = None  # (P,) float32: target of quality losses; None: the IoU


class DenseLoss(nn.Module):
    """Assign, then classification, box and quality losses.

    Everything is computed in float32, whatever autocast does around it.
    """

    def __init__(
        self,
        *,
        assigner: Assigner | PredictionAssigner,
        coder: BoxCoder,
        classification: ClassificationLoss,
        box: BoxLoss,
        quality_weight: float = 1.0,
        quality_target: Literal["iou", "centerness"] = "iou",
    ) -> None:
        """Put the parts together; `classification` is a module, it owns statistics."""
        super().__init__()
        self.assigner = assigner
        self.coder = coder
        self.classification = classification
        self.box = box
        self.quality_weight = quality_weight
        self.quality_target = quality_target
        self._ious: Tensor | None = None

    @property
    def needs_predictions(self) -> bool:
        """Whether who learns what depends on predictions, the logits among them."""
        return isinstance(self.assigner, PredictionAssigner)

    def forward(
        self,
        predictions: DensePredictions,
        priors: Priors,
        targets: Sequence[Target],
        *,
        normalizer: Tensor | None = None,
        classifiers: Sequence[nn.Conv2d] = (),
    ) -> Losses:
        """Losses "classification", "box" and, with a quality branch, "quality".

        Args:
            predictions: of the head; with `classifier_inputs` the `classifiers` are applied here.
            priors: R of them.
            targets: one per image.
            normalizer: () positives per process in the optimizer step; None counts
                those of this call. Given when a batch comes in micro-batches.
            classifiers: the head's last convolution, or that of every level, for the fused loss.
        """
        with torch.autocast(predictions.codes[0].device.type, enabled=False):
            assignment = self.assign(priors, targets, predictions)
            if normalizer is None:
                normalizer = normalizer_over_processes(assignment.weights.sum())
            placed = self._decode_positives(predictions, priors, assignment)
            iou = placed.iou
            self._note_ious(placed)
            losses = {"box": self.box(placed, normalizer) + self._fault(predictions)}
            if predictions.quality is not None:
                logits = torch.cat(predictions.quality, dim=1)[assignment.images, assignment.rows]
                losses["quality"] = self._rate(logits, priors, assignment, iou) / normalizer
        # outside of the block above: a fused convolution takes the precision of autocast
        checked = self._checked(targets) if self.classification.federated else None
        cost = self._classify(
            predictions, priors, assignment, iou, normalizer, classifiers, checked=checked
        )
        return {"classification": cost, **losses}

    def take_ious(self) -> Tensor | None:
        """(2,) float64: IoUs of the positives' boxes and their number, summed since the last call.

        On the device, for one process; None where there was no call of the loss.
        """
        taken, self._ious = self._ious, None
        return taken

    @torch.no_grad()
    def _note_ious(self, placed: PlacedBoxes) -> None:
        sums = torch.stack([placed.iou.sum(), placed.weights.sum()]).double()
        self._ious = sums if self._ious is None else self._ious + sums

    @torch.no_grad()
    def _fault(self, predictions: DensePredictions) -> Tensor | float:
        """0; NaN where assignment looks at boxes that are none, and would find no positives."""
        if not self.needs_predictions:
            return 0.0
        levels = (*predictions.codes, *(predictions.quality or ()))
        sound = torch.stack([level.isfinite().all() for level in levels]).all()
        return torch.where(sound, 0.0, torch.nan)

    @torch.no_grad()
    def assign(
        self,
        priors: Priors,
        targets: Sequence[Target],
        predictions: DensePredictions | None = None,
    ) -> Assignment:
        """What every prior of every image learns; `predictions` if the assigner needs them."""
        claims = [self._claims(priors, t, predictions, i) for i, t in enumerate(targets)]
        matches = torch.stack(
            [
                ignore_crowds(own.matches, priors.boxes, target)
                for own, target in zip(claims, targets, strict=True)
            ]
        )
        labels = torch.stack(
            [labels_of_matches(own, t["labels"]) for own, t in zip(matches, targets, strict=True)]
        )
        images, rows = _rows_to_learn(labels)
        positive = labels[images, rows] >= 0
        counts = torch.tensor([0] + [len(target["boxes"]) for target in targets])
        starts = counts.cumsum(0).to(matches.device)  # first box of every image in `truth`
        truth = torch.cat([*(target["boxes"] for target in targets), priors.boxes[:1]])
        index = torch.where(positive, starts[images] + matches[images, rows], len(truth) - 1)
        boxes = torch.where(positive[:, None], truth[index], priors.boxes[rows])
        stated = [own.quality for own in claims if own.quality is not None]
        quality = torch.stack(stated)[images, rows] if stated else None
        return Assignment(labels, images, rows, boxes, positive.float(), quality)

    def _claims(
        self, priors: Priors, target: Target, predictions: DensePredictions | None, image: int
    ) -> Claims:
        """Which of the objects of one image each prior learns."""
        if not isinstance(self.assigner, PredictionAssigner):
            return Claims(self.assigner(priors, target["boxes"]))
        if predictions is None:
            raise ValueError(
                f"{type(self.assigner).__name__} needs predictions to assign; positives cannot be "
                "counted before the network has run. Set train.micro_batches: 1"
            )
        forecast = self._forecast(predictions, priors, image)
        return self.assigner(priors, target["boxes"], target["labels"], forecast)

    def _forecast(self, predictions: DensePredictions, priors: Priors, image: int) -> Forecast:
        codes = torch.cat([level[image] for level in predictions.codes])
        logits = [level[image].detach() for level in predictions.logits]
        scores = ClassScores(logits, self.classification.scores, self.classification.num_classes)
        quality = torch.ones_like(priors.boxes[:, 0])
        if predictions.quality is not None:
            quality = torch.cat([level[image].float() for level in predictions.quality]).sigmoid()
        return Forecast(self.coder.decode(codes, priors.boxes), scores, quality)

    def _decode_positives(
        self, predictions: DensePredictions, priors: Priors, assignment: Assignment
    ) -> PlacedBoxes:
        """What is predicted for the positives, with gradient, and the truth."""
        codes = torch.cat(predictions.codes, dim=1)[assignment.images, assignment.rows]
        starts = priors.boxes[assignment.rows]
        boxes = self.coder.decode(codes, starts)
        iou = paired_iou(boxes.detach(), assignment.boxes).clamp(0, 1) * assignment.weights
        return PlacedBoxes(codes, boxes, starts, assignment.boxes, iou, assignment.weights)

    def _classify(
        self,
        predictions: DensePredictions,
        priors: Priors,
        assignment: Assignment,
        iou: Tensor,
        normalizer: Tensor,
        classifiers: Sequence[nn.Conv2d],
        *,
        checked: Tensor | None,
    ) -> Tensor:
        quality = None
        if self.classification.needs_quality:
            wanted = iou if assignment.quality is None else assignment.quality * assignment.weights
            quality_rows = torch.zeros_like(assignment.labels, dtype=iou.dtype)
            quality_rows[assignment.images, assignment.rows] = wanted.to(iou.dtype)
            quality = [level.flatten() for level in priors.split(quality_rows, dim=1)]
        labels = [level.flatten() for level in priors.split(assignment.labels, dim=1)]
        if classifiers:
            features = predictions.classifier_inputs
            return self.classification.fused(
                features, classifiers, labels, normalizer, quality=quality, checked=checked
            )
        logits = [level.flatten(0, 1) for level in predictions.logits]  # (B x R_l, K), views
        return self.classification(logits, labels, normalizer, quality=quality, checked=checked)

    def _checked(self, targets: Sequence[Target]) -> Tensor:
        """(B, C) bool: classes that can be negatives in an image; all where it does not say."""
        device = targets[0]["boxes"].device
        everything = torch.ones(self.classification.num_classes, dtype=torch.bool, device=device)
        return torch.stack([target.get("checked", everything) for target in targets])

    def _rate(self, logits: Tensor, priors: Priors, assignment: Assignment, iou: Tensor) -> Tensor:
        """Cost of the quality `logits` (P,) of the positives, summed and weighted."""
        target = iou
        if self.quality_target == "centerness":
            target = centerness(centers(priors.boxes[assignment.rows]), assignment.boxes)
        costs = functional.binary_cross_entropy_with_logits(
            logits.float(), target, reduction="none"
        )
        return self.quality_weight * (costs * assignment.weights).sum()


def _rows_to_learn(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Image and prior of the positives in `labels` (B, R), or of all priors on CUDA.

    To know how many positives there are the host would wait for the device; boxes of all priors
    with a weight of 0 or 1 cost less, a few columns beside the C of the logits.
    """
    if _knows_counts(labels.device):
        images, rows = (labels >= 0).nonzero(as_tuple=True)
        return images, rows
    batch, priors = labels.shape
    images = torch.arange(batch, device=labels.device).repeat_interleave(priors)
    return images, torch.arange(priors, device=labels.device).repeat(batch)


def _knows_counts(device: torch.device) -> bool:
    return device.type == "cpu"

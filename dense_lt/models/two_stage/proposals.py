"""Region proposal network: the dense parts with one class, and boxes worth a second look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.losses.regression import BoxLoss, PlacedBoxes
from dense_lt.models.assigners.base import Assigner
from dense_lt.models.assigners.crowds import ignore_crowds
from dense_lt.models.priors import PriorGenerator
from dense_lt.ops.box_coding import BoxCoder
from dense_lt.ops.boxes import clip_boxes_to_image, paired_iou
from dense_lt.ops.layout import rows_of_map
from dense_lt.ops.sampling import generator_of, sample_matches
from dense_lt.ops.selection import class_wise_nms
from dense_lt.structures import DensePredictions, Losses, Priors, Size, Target
from dense_lt.utils.distributed import normalizer_over_processes

SMALLEST_SIDE = 1e-3
"""Proposals narrower or lower than this, in pixels, are dropped (torchvision)."""


class Proposals(NamedTuple):
    """What is proposed in B images, best first and without gradient, and what it cost."""

    boxes: list[Tensor]  # B x (n, 4)
    scores: list[Tensor]  # B x (n,) in [0, 1]
    losses: Losses  # empty without targets


class ProposalHead(nn.Module):
    """One 3x3 convolution on every level, then an objectness logit and box codes per anchor.

    Source: Ren et al. 2015 (Faster R-CNN).
    """

    def __init__(self, *, in_channels: int, channels: int, priors_per_location: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.classifier = nn.Conv2d(channels, priors_per_location, 1)
        self.box_regressor = nn.Conv2d(channels, priors_per_location * 4, 1)
        for layer in (self.convolution, self.classifier, self.box_regressor):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> DensePredictions:
        """`levels` L x (B, in_channels, H_l, W_l) -> predictions with K = 1."""
        features = [functional.relu(self.convolution(level)) for level in levels]
        return DensePredictions(
            tuple(rows_of_map(self.classifier(x), 1) for x in features),
            tuple(rows_of_map(self.box_regressor(x), 4) for x in features),
        )


class ProposalLimits(NamedTuple):
    """How many proposals survive; the fields are those of `ProposalLimitsConfig`."""

    pre_nms_top_k: int = 1000
    proposals: int = 1000


class ProposalSelection(NamedTuple):
    """From raw outputs to proposals: the best of each level, decoded, suppressed, capped."""

    coder: BoxCoder
    nms_iou: float = 0.7

    @torch.no_grad()
    def __call__(
        self,
        predictions: DensePredictions,
        priors: Priors,
        sizes: Sequence[Size],
        limits: ProposalLimits,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """B x (n, 4) proposals, best first, and B x (n,) scores; `sizes` before padding."""
        logits, codes, anchors, levels = [], [], [], []
        own_anchors = priors.split(priors.boxes)
        for number, (logit, code) in enumerate(
            zip(predictions.logits, predictions.codes, strict=True)
        ):
            best = min(limits.pre_nms_top_k, logit.shape[1])
            logit, rows = logit.squeeze(-1).float().topk(best, dim=1)  # (B, k)
            logits.append(logit)
            codes.append(code.gather(1, rows[..., None].expand(-1, -1, 4)))
            anchors.append(own_anchors[number][rows])
            levels.append(torch.full_like(rows, number))
        boxes = self.coder.decode(torch.cat(codes, dim=1), torch.cat(anchors, dim=1))
        columns = (boxes, torch.cat(logits, dim=1), torch.cat(levels, dim=1), sizes)
        images = [self._one(*image, limits.proposals) for image in zip(*columns, strict=True)]
        return [kept for kept, _ in images], [scores for _, scores in images]

    def _one(
        self, boxes: Tensor, logits: Tensor, levels: Tensor, size: Size, count: int
    ) -> tuple[Tensor, Tensor]:
        """The best boxes (n, 4) of one image after suppression within each level, and scores."""
        boxes = clip_boxes_to_image(boxes, size)
        large = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(dim=1)
        boxes, logits, levels = boxes[large], logits[large], levels[large]
        kept = class_wise_nms(boxes, logits, levels, iou_threshold=self.nms_iou, max_kept=count)
        return boxes[kept], logits[kept].sigmoid()


class ProposalLoss(NamedTuple):
    """Objectness of a sample of anchors, and boxes of the positives, means over all of them."""

    assigner: Assigner
    coder: BoxCoder
    box: BoxLoss
    samples: int = 256
    positive_fraction: float = 0.5

    def __call__(
        self,
        predictions: DensePredictions,
        priors: Priors,
        targets: Sequence[Target],
        share: Tensor | float = 1.0,
    ) -> Losses:
        """Losses "objectness" and "proposal_box", times `share`."""
        labels, truth, rows, images = [], [], [], []
        for image, target in enumerate(targets):
            matches = self.assigner(priors, target["boxes"])
            matches = ignore_crowds(matches, priors.boxes, target)
            sampled = sample_matches(
                matches,
                count=self.samples,
                positive_fraction=self.positive_fraction,
                generator=generator_of(target, 0),
            )
            matches = matches[sampled]
            labels.append(matches >= 0)
            truth.append(target["boxes"][matches[matches >= 0]])
            rows.append(sampled)
            images.append(torch.full_like(sampled, image))
        positive, row, image = torch.cat(labels), torch.cat(rows), torch.cat(images)
        logits = torch.cat(predictions.logits, dim=1)[image, row].squeeze(-1).float()
        normalizer = normalizer_over_processes(torch.ones_like(logits).sum()) / share
        objectness = functional.binary_cross_entropy_with_logits(
            logits, positive.to(logits.dtype), reduction="sum"
        )
        row, image = row[positive], image[positive]
        codes = torch.cat(predictions.codes, dim=1)[image, row]
        placed = placed_boxes(self.coder, codes, priors.boxes[row], torch.cat(truth))
        return {
            "objectness": objectness / normalizer,
            "proposal_box": self.box(placed, normalizer),
        }


class ProposalNetwork(nn.Module):
    """Scores anchors as object or not, places them, and keeps the best."""

    def __init__(
        self,
        *,
        head: ProposalHead,
        priors: PriorGenerator,
        loss: ProposalLoss,
        selection: ProposalSelection,
        train_limits: ProposalLimits,
        test_limits: ProposalLimits,
        levels: slice,
    ) -> None:
        """Put the parts together; `levels` of the pyramid have anchors."""
        super().__init__()
        self.head = head
        self.priors = priors
        self.loss = loss
        self.selection = selection
        self.train_limits = train_limits
        self.test_limits = test_limits
        self.levels = levels

    def forward(
        self,
        levels: Sequence[Tensor],
        sizes: Sequence[Size],
        targets: Sequence[Target] | None,
        *,
        share: Tensor | float = 1.0,
    ) -> Proposals:
        """Propose and, if there are targets, learn.

        Args:
            levels: all maps of the pyramid.
            sizes: of the images, before padding.
            targets: one per image, or None.
            share: factor on the losses, () or a number: of a micro-batch in its batch.
        """
        levels = levels[self.levels]
        priors = self.priors(levels)
        predictions = self.head(levels)
        with torch.autocast(levels[0].device.type, enabled=False):
            limits = self.test_limits if targets is None else self.train_limits
            boxes, scores = self.selection(predictions, priors, sizes, limits)
            losses = {} if targets is None else self.loss(predictions, priors, targets, share)
        return Proposals(boxes, scores, losses)


def placed_boxes(coder: BoxCoder, codes: Tensor, priors: Tensor, truth: Tensor) -> PlacedBoxes:
    """What a box loss wants to know of P positives: `codes`, `priors` and `truth` are (P, 4)."""
    boxes = coder.decode(codes, priors)
    iou = paired_iou(boxes.detach(), truth).clamp(0, 1)
    return PlacedBoxes(codes, boxes, priors, truth, iou, torch.ones_like(iou))

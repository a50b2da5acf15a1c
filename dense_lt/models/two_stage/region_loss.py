"""From region outputs to losses: classify and place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dense_lt.balance.row_weights import Groups
from dense_lt.losses.regions.base import RegionClassificationLoss
from dense_lt.losses.regions.sigmoid import images_of_regions
from dense_lt.losses.regression import BoxLoss
from dense_lt.models.two_stage.box_head import RegionPredictions
from dense_lt.models.two_stage.proposals import placed_boxes
from dense_lt.models.two_stage.regions import SampledRegions
from dense_lt.ops.box_coding import BoxCoder
from dense_lt.structures import Losses, Target
from dense_lt.utils.distributed import normalizer_over_processes


class RegionLoss(nn.Module):
    """Classification of all sampled regions and boxes of the positives, means over all of them.

    Boxes too are divided by the number of all regions, positives and background (Girshick 2015):
    an object then weighs the same whether its image has many positives or few.
    """

    def __init__(
        self,
        *,
        classification: RegionClassificationLoss,
        coder: BoxCoder,
        box: BoxLoss,
        federated: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            classification: a module, it owns statistics.
            coder: of boxes.
            box: cost of boxes.
            federated: classes that were not checked in an image have no negatives there.
        """
        super().__init__()
        self.classification = classification
        self.coder = coder
        self.box = box
        self.federated = federated

    def forward(
        self,
        predictions: RegionPredictions,
        sampled: SampledRegions,
        targets: Sequence[Target],
        *,
        share: Tensor | float = 1.0,
    ) -> Losses:
        """Losses "classification" and "box", computed in float32.

        Args:
            predictions: N.
            sampled: N.
            targets: one per image.
            share: factor on the losses, () or a number: of a micro-batch in its batch.
        """
        with torch.autocast(predictions.logits.device.type, enabled=False):
            labels = sampled.labels
            normalizer = normalizer_over_processes(_count(labels)) / share
            federated = {"checked": self._checked(sampled, targets)} if self.federated else {}
            logits = predictions.logits.float()
            cost = self.classification(logits, labels, normalizer, **federated)
            rows = (labels >= 0).nonzero().squeeze(1)
            placed = placed_boxes(
                self.coder,
                predictions.codes_of(rows, labels[rows]).float(),
                sampled.regions.boxes[rows],
                sampled.truth[rows],
            )
            return {"classification": cost, "box": self.box(placed, normalizer)}

    def _checked(self, sampled: SampledRegions, targets: Sequence[Target]) -> Groups:
        everything = sampled.labels.new_ones(self.classification.num_classes, dtype=torch.bool)
        checked = torch.stack([target.get("checked", everything) for target in targets])
        return images_of_regions(checked, sampled.regions.images)


def _count(labels: Tensor) -> Tensor:
    return torch.ones_like(labels, dtype=torch.float32).sum()

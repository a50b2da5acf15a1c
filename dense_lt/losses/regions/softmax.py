"""Losses with one softmax over all classes and background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.balance.statistics import GradientStatistics
from dense_lt.losses.regions.base import note_softmax, refuse_priors
from dense_lt.ops.matching import BACKGROUND


class SoftmaxLoss(nn.Module):
    """Cross-entropy over C classes and background, the last logit.

    Notes the gradient |p - y| of every class, without weight and normaliser, as the control of
    the losses that use it.
    """

    def __init__(self, statistics: GradientStatistics, *, weight: float = 1.0) -> None:
        super().__init__()
        self.statistics = statistics
        self.weight = weight
        self.num_classes = statistics.num_classes
        self.num_logits = self.num_classes + 1

    def forward(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        targets = torch.where(labels == BACKGROUND, self.num_classes, labels)
        log_probabilities = logits.log_softmax(dim=-1)
        loss = functional.nll_loss(log_probabilities, targets, reduction="sum")
        if logits.requires_grad:
            note_softmax(self.statistics, log_probabilities.detach().exp(), targets)
        return self.weight * loss / normalizer

    def scores(self, logits: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        return logits.float().softmax(dim=-1)[..., : self.num_classes]

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:
        """See `RegionClassificationLoss`."""
        refuse_priors("a softmax", prior, objectness)
        return torch.zeros(self.num_logits)

    def summary(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Mean ratio of every group of classes; see `SigmoidLoss.summary`."""
        ratio = self.statistics.ratio().clamp(max=1)
        return {
            f"ratio/{group}": float(ratio[list(own)].mean()) for group, own in groups.items() if own
        }

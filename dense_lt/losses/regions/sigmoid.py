"""Losses with a sigmoid for every class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dense_lt.balance.modulation import Modulator
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.losses.regions.base import refuse_priors
from dense_lt.ops.sigmoid_loss.arguments import Modulation


class SigmoidRegionLoss(SigmoidLoss):
    """A loss of the sigmoid family on regions; which one, its `modulator` says.

    Args:
        pairs: every logit is the difference of two, z1 - z0, whose softmax it then is (2C-softmax;
            Tan et al. 2021, table 9). The first half of the K logits are z0.
    """

    def __init__(
        self,
        modulator: Modulator,
        statistics: GradientStatistics,
        *,
        pairs: bool = False,
        **settings: object,
    ) -> None:
        super().__init__(modulator, statistics, **settings)  # type: ignore[arg-type]
        self.pairs = pairs
        self.num_sigmoids = self.num_logits
        self.num_logits *= 2 if pairs else 1

    def forward(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:  # type: ignore[override]
        """See `RegionClassificationLoss`."""
        return super().forward(self._sigmoids(logits), labels, normalizer)

    def scores(self, logits: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        return super().scores(self._sigmoids(logits))

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:  # type: ignore[override]
        """See `RegionClassificationLoss`."""
        bias = torch.zeros(self.num_logits)
        sigmoids = bias[-self.num_sigmoids :]
        if prior is not None:
            sigmoids[: self.num_classes] = math.log(prior / (1 - prior))
        if objectness is not None:
            if self.num_sigmoids == self.num_classes:
                refuse_priors("a loss without a logit for it", None, objectness)
            sigmoids[self.num_classes :] = math.log(objectness / (1 - objectness))
        return bias

    def _sigmoids(self, logits: Tensor) -> Tensor:
        if not self.pairs:
            return logits
        first, second = logits.chunk(2, dim=-1)
        return second - first


class PartlyModulated(nn.Module):
    """Another policy, of which only the weights of negatives, or only those of positives, count.

    Source: Tan et al. 2021, table 2.
    """

    def __init__(self, modulator: Modulator, *, negatives: bool, positives: bool) -> None:
        super().__init__()
        self.modulator = modulator
        self.negatives = negatives
        self.positives = positives

    def forward(self, ratio: Tensor) -> Modulation:
        """See `Modulator`; what is switched off weighs 1."""
        gamma, positive, negative = self.modulator(ratio)
        return Modulation(
            gamma,
            positive if self.positives else torch.ones_like(positive),
            negative if self.negatives else torch.ones_like(negative),
        )

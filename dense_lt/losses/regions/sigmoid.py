"""Losses with a sigmoid for every class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dense_lt.balance.modulation import Modulator
from dense_lt.balance.row_weights import Groups
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.losses.regions.base import refuse_priors
from dense_lt.ops.sigmoid_loss.arguments import Modulation


class SigmoidRegionLoss(SigmoidLoss):
    """A loss of the sigmoid family on regions; which one, its `modulator` says."""

    def forward(  # type: ignore[override]
        self,
        logits: Tensor,
        labels: Tensor,
        normalizer: Tensor,
        *,
        checked: Groups | None = None,
    ) -> Tensor:
        """See `RegionClassificationLoss`; `checked`: see `images_of_regions`."""
        return super().forward(logits, labels, normalizer, checked=checked)  # type: ignore[arg-type]

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:  # type: ignore[override]
        """See `RegionClassificationLoss`."""
        if self.objectness is None:
            refuse_priors("a loss without a logit for it", None, objectness)
        bias = torch.zeros(self.num_logits)
        bias[: self.num_classes] = _logit(prior)
        bias[self.num_classes :] = _logit(objectness)
        return bias

    def _groups(  # type: ignore[override]
        self,
        labels: tuple[Tensor, ...],
        checked: Groups | None,
        logits: tuple[Tensor, ...] | None,
    ) -> Groups | None:
        """As in `SigmoidLoss`, but images have different numbers of regions."""
        groups = super()._groups(labels, None, logits)
        if groups is None or checked is None:
            return checked if groups is None else groups
        return groups.times(checked)


def images_of_regions(checked: Tensor, images: Tensor) -> Groups:
    """A group for every image: its negatives are the classes that were `checked` (B, C) there.

    Args:
        checked: bool; see `structures.Target`.
        images: (N,) int64 image of every region.
    """
    return Groups(checked.float(), (images,))


class PairedLoss(nn.Module):
    """A loss whose every sigmoid is the softmax over two logits, sigmoid(z1 - z0): 2C-softmax.

    The first half of the logits are z0. Source: Tan et al. 2021, table 9.
    """

    def __init__(self, sigmoids: SigmoidRegionLoss) -> None:
        super().__init__()
        self.sigmoids = sigmoids
        self.num_classes = sigmoids.num_classes
        self.num_logits = 2 * sigmoids.num_logits

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        normalizer: Tensor,
        *,
        checked: Groups | None = None,
    ) -> Tensor:
        """See `RegionClassificationLoss`."""
        return self.sigmoids(_differences(logits), labels, normalizer, checked=checked)

    def scores(self, logits: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        return self.sigmoids.scores(_differences(logits.float()))

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:
        """See `RegionClassificationLoss`."""
        bias = self.sigmoids.initial_bias(prior, objectness)
        return torch.cat([torch.zeros_like(bias), bias])

    def class_logits(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (..., C) what the sigmoids of the classes see."""
        return _differences(logits)[..., : self.num_classes]

    def summary(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """See `SigmoidLoss.summary`."""
        return self.sigmoids.summary(groups)


def _differences(logits: Tensor) -> Tensor:
    first, second = logits.chunk(2, dim=-1)
    return second - first


def _logit(probability: float | None) -> float:
    return 0.0 if probability is None else math.log(probability / (1 - probability))


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

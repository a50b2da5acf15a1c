"""What does a class's ratio of positive to negative gradient do to its loss?

Each policy is a pure function from the ratio (C,) of `GradientStatistics` to three vectors (C,). A
ratio of inf means that nothing was seen yet and leaves the class as the plain loss has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.ops.sigmoid_loss.arguments import Modulation


class Modulator(Protocol):
    """A policy."""

    def __call__(self, ratio: Tensor) -> Modulation:
        """`ratio` (C,) in [0, inf] -> exponent and weights of every class, (C,) float32 each."""
        ...


@dataclass(frozen=True)
class ConstantFocal:
    """The same for all classes: focal loss; `gamma` 0 and `alpha` below 0 are cross-entropy.

    Source: Lin et al. 2017, Focal loss for dense object detection.
    """

    alpha: float = 0.25
    """Weight of positives, negatives get 1 - alpha; below 0 both get 1."""

    gamma: float = 2.0
    """Focusing exponent."""

    def __call__(self, ratio: Tensor) -> Modulation:
        """Reads the number of classes off `ratio`, nothing else."""
        return _focal(torch.full_like(ratio, self.gamma), torch.ones_like(ratio), self.alpha)


@dataclass(frozen=True)
class EqualizedFocal:
    """Exponent gamma + scale (1 - r) and weight exponent / gamma, with r the ratio up to 1.

    Without positive gradient the exponent is gamma + scale, with as much as negative it is gamma
    and the loss is the focal loss. The weight holds for positives and negatives.

    Source: Li et al. 2022, Equalized focal loss for dense long-tailed object detection.
    """

    alpha: float = 0.25
    """Weight of positives, negatives get 1 - alpha; below 0 both get 1 (the quality form)."""

    gamma: float = 2.0
    """Focusing exponent of a balanced class, above 0."""

    scale: float = 8.0
    """Exponent added for a class that receives no positive gradient."""

    def __call__(self, ratio: Tensor) -> Modulation:
        """See the class."""
        gamma = self.gamma + self.scale * (1 - ratio.clamp(0, 1))
        return _focal(gamma, gamma / self.gamma, self.alpha)


@dataclass(frozen=True)
class Varifocal:
    """Negatives focused, positives not; those weigh by their quality (see `SigmoidLoss`).

    Source: Zhang et al. 2021, VarifocalNet.
    """

    alpha: float = 0.75
    """Weight of negatives."""

    gamma: float = 2.0
    """Focusing exponent of negatives."""

    def __call__(self, ratio: Tensor) -> Modulation:
        """Reads the number of classes off `ratio`, nothing else."""
        one = torch.ones_like(ratio)
        return Modulation(self.gamma * one, one, self.alpha * one)


class ClassWeightedFocal(nn.Module):
    """Focal loss with a fixed weight for every class, on its positives or on all its entries.

    Args:
        class_weight: (C,), such as `counts.class_weights`.
        plain: the focal loss.
        positives_only: whether negatives keep the weight of plain focal loss.
    """

    class_weight: Tensor

    def __init__(
        self,
        class_weight: Tensor,
        plain: ConstantFocal,
        *,
        positives_only: bool = True,
    ) -> None:
        super().__init__()
        self.plain = plain
        self.positives_only = positives_only
        # a setting, made again from the data: not part of a checkpoint
        self.register_buffer("class_weight", class_weight, persistent=False)

    def forward(self, ratio: Tensor) -> Modulation:
        """Reads the number of classes off `ratio`, nothing else."""
        gamma, positive, negative = self.plain(ratio)
        weight = self.class_weight
        return Modulation(
            gamma, weight * positive, negative if self.positives_only else weight * negative
        )


@dataclass(frozen=True)
class EqualizationV2:
    """Negatives weighted down and positives up while the ratio is low, of cross-entropy or focal.

    Negatives weigh f(ratio) = sigmoid(steepness (ratio - mu)), positives 1 + alpha (1 - f). The
    ratio is not clamped; a class of which nothing was seen gets 1 and 1. These weights multiply
    cross-entropy (published) or, with `focal_gamma` and `focal_alpha`, the focal loss: among the
    many easy negatives of a dense head the weights alone leave rare classes drowning.

    Source: Tan et al. 2021, Equalization loss v2; the published code starts at a ratio of 100,
    which gives the same weights as inf.
    """

    steepness: float = 12.0
    """How sharply the weight of negatives rises with the ratio."""

    mu: float = 0.8
    """Ratio at which negatives weigh one half."""

    alpha: float = 4.0
    """What the weight of positives gains at ratio 0."""

    focal_alpha: float = -1.0
    """Weight of positives in the focal loss, see `ConstantFocal`."""

    focal_gamma: float = 0.0
    """Focusing exponent of the focal loss; 0 is cross-entropy."""

    def __call__(self, ratio: Tensor) -> Modulation:
        """See the class."""
        gamma, positive, negative = ConstantFocal(self.focal_alpha, self.focal_gamma)(ratio)
        share = torch.sigmoid(self.steepness * (ratio - self.mu))
        return Modulation(gamma, positive * (1 + self.alpha * (1 - share)), negative * share)


class Column(NamedTuple):
    """Exponent and weights of one logit."""

    gamma: float = 0.0
    positive_weight: float = 1.0
    negative_weight: float = 1.0


def with_column(modulation: Modulation, column: Column) -> Modulation:
    """`modulation` of C classes -> of C + 1, the last of which is `column`."""
    columns = zip(modulation, column, strict=True)
    return Modulation(*(functional.pad(v, (0, 1), value=last) for v, last in columns))


def _focal(gamma: Tensor, weight: Tensor, alpha: float) -> Modulation:
    if alpha < 0:
        return Modulation(gamma, weight, weight)
    return Modulation(gamma, alpha * weight, (1 - alpha) * weight)

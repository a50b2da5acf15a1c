"""Settings of the losses: one section per `kind`, named as in the papers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from dense_lt.config.frequency_losses import FrequencyLossConfig
from dense_lt.config.loss_section import FocalSection, LossSection


class FocalLossConfig(FocalSection):
    """Sigmoid focal loss (Lin et al. 2017)."""

    kind: Literal["focal"] = "focal"


class EqualizedFocalLossConfig(FocalSection):
    """Equalized focal loss, EFL (Li et al. 2022)."""

    kind: Literal["equalized_focal"]
    gamma: PositiveFloat = 2.0
    """Focusing exponent of a balanced class (gamma_b)."""

    scale: float = Field(default=8.0, ge=0)
    """Exponent added to a class that receives no positive gradient (s)."""


class QualityFocalLossConfig(LossSection):
    """Quality focal loss, QFL (Li et al. 2020): the IoU of a positive's box is its target."""

    kind: Literal["quality_focal"]
    gamma: float = Field(2.0, ge=0)
    """Exponent of |target - score| (beta)."""


class EqualizedQualityFocalLossConfig(LossSection):
    """Equalized quality focal loss, EQFL: EFL's exponents and weights on the quality focal loss."""

    kind: Literal["equalized_quality_focal"]
    gamma: PositiveFloat = 2.0
    """Exponent of a balanced class (gamma_b)."""

    scale: float = Field(4.0, ge=0)
    """Exponent added to a class that receives no positive gradient (s)."""


class VarifocalLossConfig(LossSection):
    """Varifocal loss (Zhang et al. 2021): a positive's IoU is its target and its weight."""

    kind: Literal["varifocal"]
    alpha: float = Field(0.75, gt=0)
    """Weight of negatives."""

    gamma: float = Field(2.0, ge=0)
    """Focusing exponent of negatives; positives are not focused."""


class EqualizationV2Section(LossSection):
    """Weights from the ratio of gradients, as in the equalization loss v2 (Tan et al. 2021)."""

    steepness: PositiveFloat = 12.0
    """How sharply the weight of negatives rises with the ratio."""

    mu: float = 0.8
    """Ratio at which the negatives of a class weigh one half."""

    alpha: float = Field(4.0, ge=0)
    """What the weight of positives gains at ratio 0."""


class EqualizationV2LossConfig(EqualizationV2Section):
    """Equalization loss v2, EQL v2 (Tan et al. 2021)."""

    kind: Literal["eql_v2"]
    objectness: bool = True
    """One more logit for "no object", trained without reweighting; its complement scales scores."""


class EqualizationV2FocalLossConfig(EqualizationV2Section):
    """The weights of EQL v2 times the focal loss: EQL v2 for dense heads."""

    kind: Literal["eql_v2_focal"]
    focal_alpha: float = Field(default=0.25, ge=-1, le=1)
    """Weight of positives in the focal loss, negatives get 1 - focal_alpha; below 0 both get 1."""

    focal_gamma: float = Field(default=2.0, ge=0)
    """Focusing exponent of the focal loss."""

    objectness: bool = False
    """One more logit for "no object", trained with the plain focal loss; its complement scales
    scores. On regions it separates objects from background; a dense head with a quality branch
    has such a factor already."""


class BinaryCrossEntropyLossConfig(LossSection):
    """Sigmoid cross-entropy of every class, unweighted."""

    kind: Literal["bce"]


CountFreeLossConfig = (
    FocalLossConfig
    | EqualizedFocalLossConfig
    | QualityFocalLossConfig
    | EqualizedQualityFocalLossConfig
    | VarifocalLossConfig
    | EqualizationV2LossConfig
    | EqualizationV2FocalLossConfig
    | BinaryCrossEntropyLossConfig
)
"""Losses that need not know how often a class occurs in the training data."""

ClassificationLossConfig = Annotated[
    CountFreeLossConfig | FrequencyLossConfig, Field(discriminator="kind")
]

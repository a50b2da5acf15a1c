"""Settings of the losses: one section per `kind`, named as in the papers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from dense_lt.config.section import Section


class StatisticsConfig(Section):
    """How gradient is accumulated per class; the published systems use the defaults."""

    decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the sums at every optimizer step; 1 keeps the whole life (published)."""

    count_prior: float = Field(default=0.0, ge=0)
    """Added to both sums of every class, so that a ratio starts near 1; 0 is the published form."""


class FocalLossConfig(Section):
    """Sigmoid focal loss (Lin et al. 2017)."""

    kind: Literal["focal"] = "focal"
    alpha: float = Field(default=0.25, ge=-1, le=1)
    """Weight of positives, negatives get 1 - alpha; below 0 both get 1."""

    gamma: float = Field(default=2.0, ge=0)
    """Focusing exponent."""

    weight: float = Field(default=1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


class EqualizedFocalLossConfig(Section):
    """Equalized focal loss, EFL (Li et al. 2022)."""

    kind: Literal["equalized_focal"]
    alpha: float = Field(default=0.25, ge=-1, le=1)
    """Weight of positives, negatives get 1 - alpha; below 0 both get 1."""

    gamma: PositiveFloat = 2.0
    """Focusing exponent of a balanced class (gamma_b)."""

    scale: float = Field(default=8.0, ge=0)
    """Exponent added to a class that receives no positive gradient (s)."""

    weight: float = Field(default=1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


class QualityFocalLossConfig(Section):
    """Quality focal loss, QFL (Li et al. 2020): the IoU of a positive's box is its target."""

    kind: Literal["quality_focal"]
    gamma: float = Field(2.0, ge=0)
    """Exponent of |target - score| (beta)."""

    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


class EqualizedQualityFocalLossConfig(Section):
    """Equalized quality focal loss, EQFL: EFL's exponents and weights on the quality focal loss."""

    kind: Literal["equalized_quality_focal"]
    gamma: PositiveFloat = 2.0
    """Exponent of a balanced class (gamma_b)."""

    scale: float = Field(4.0, ge=0)
    """Exponent added to a class that receives no positive gradient (s)."""

    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


class EqualizationV2LossConfig(Section):
    """Equalization loss v2, EQL v2 (Tan et al. 2021)."""

    kind: Literal["eql_v2"]
    steepness: PositiveFloat = 12.0
    """How sharply the weight of negatives rises with the ratio."""

    mu: float = 0.8
    """Ratio at which the negatives of a class weigh one half."""

    alpha: float = Field(4.0, ge=0)
    """What the weight of positives gains at ratio 0."""

    objectness: bool = True
    """One more logit for "no object", trained without reweighting; its complement scales scores."""

    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


class BinaryCrossEntropyLossConfig(Section):
    """Sigmoid cross-entropy of every class, unweighted."""

    kind: Literal["bce"]
    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


ClassificationLossConfig = Annotated[
    FocalLossConfig
    | EqualizedFocalLossConfig
    | QualityFocalLossConfig
    | EqualizedQualityFocalLossConfig
    | EqualizationV2LossConfig
    | BinaryCrossEntropyLossConfig,
    Field(discriminator="kind"),
]


class GIoULossConfig(Section):
    """Generalised IoU on decoded boxes (Rezatofighi et al. 2019)."""

    kind: Literal["giou"] = "giou"
    weight: float = Field(default=1.0, gt=0)
    """Factor on this loss in the total."""

    iou_weighted: bool = True
    """Weight each positive by the IoU of its prediction, and divide by the sum of these weights.

    As in the improved baseline of Li et al. 2022; otherwise all positives weigh the same.
    """


class QualityLossConfig(Section):
    """Binary cross-entropy of the quality branch (`head.quality`) against what it predicts."""

    target: Literal["iou", "centerness"] = "iou"
    """`iou`: of the predicted box with its object; `centerness`: how near the prior's centre is to
    the middle of its object (Tian et al. 2019)."""

    weight: float = Field(default=1.0, gt=0)
    """Factor on this loss in the total."""

"""Settings of the losses: one section per `kind`, named as in the papers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from dense_lt.config.section import Section


class StatisticsConfig(Section):
    """How gradient is accumulated per class; the published systems use the defaults."""

    decay: float = Field(1.0, gt=0, le=1)
    """Factor on the sums at every optimizer step; 1 keeps the sums of the whole life (published)."""

    count_prior: float = Field(0.0, ge=0)
    """Added to both sums of every class, so that a ratio starts near 1; 0 is the published form."""


class FocalLossConfig(Section):
    """Sigmoid focal loss (Lin et al. 2017)."""

    kind: Literal["focal"] = "focal"
    alpha: float = Field(0.25, ge=-1, le=1)
    """Weight of positives, negatives get 1 - alpha; below 0 both get 1."""

    gamma: float = Field(2.0, ge=0)
    """Focusing exponent."""

    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


class EqualizedFocalLossConfig(Section):
    """Equalized focal loss, EFL (Li et al. 2022)."""

    kind: Literal["equalized_focal"]
    alpha: float = Field(0.25, ge=-1, le=1)
    """Weight of positives, negatives get 1 - alpha; below 0 both get 1."""

    gamma: PositiveFloat = 2.0
    """Focusing exponent of a balanced class (gamma_b)."""

    scale: float = Field(8.0, ge=0)
    """Exponent added to a class that receives no positive gradient (s)."""

    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

    statistics: StatisticsConfig = StatisticsConfig()


ClassificationLossConfig = Annotated[
    FocalLossConfig | EqualizedFocalLossConfig, Field(discriminator="kind")
]


class GIoULossConfig(Section):
    """Generalised IoU on decoded boxes (Rezatofighi et al. 2019)."""

    kind: Literal["giou"] = "giou"
    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

    iou_weighted: bool = True
    """Weight each positive by the IoU of its prediction, and divide by the sum of these weights.

    As in the improved baseline of Li et al. 2022; otherwise all positives weigh the same.
    """


class QualityLossConfig(Section):
    """Binary cross-entropy of the quality branch against the IoU of the predicted box."""

    weight: float = Field(1.0, gt=0)
    """Factor on this loss in the total."""

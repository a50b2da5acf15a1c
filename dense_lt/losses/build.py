"""From the settings of a loss to the loss."""

from __future__ import annotations

from dense_lt.balance.modulation import ConstantFocal, EqualizationV2, EqualizedFocal
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.config import losses as settings
from dense_lt.losses.classification import SigmoidLoss


def build_classification_loss(
    section: settings.ClassificationLossConfig, num_classes: int
) -> SigmoidLoss:
    """The loss that `section` describes, for C = `num_classes` classes."""
    statistics = GradientStatistics(
        num_classes,
        decay=section.statistics.decay,
        count_prior=section.statistics.count_prior,
    )
    weight = section.weight
    match section:
        case settings.FocalLossConfig(alpha=alpha, gamma=gamma):
            return SigmoidLoss(ConstantFocal(alpha, gamma), statistics, weight=weight)
        case settings.EqualizedFocalLossConfig(alpha=alpha, gamma=gamma, scale=scale):
            return SigmoidLoss(EqualizedFocal(alpha, gamma, scale), statistics, weight=weight)
        case settings.QualityFocalLossConfig(gamma=gamma):
            policy = ConstantFocal(-1, gamma)
            return SigmoidLoss(policy, statistics, weight=weight, needs_quality=True)
        case settings.EqualizedQualityFocalLossConfig(gamma=gamma, scale=scale):
            policy = EqualizedFocal(-1, gamma, scale)
            return SigmoidLoss(policy, statistics, weight=weight, needs_quality=True)
        case settings.EqualizationV2LossConfig(steepness=steepness, mu=mu, alpha=alpha):
            return SigmoidLoss(
                EqualizationV2(steepness, mu, alpha),
                statistics,
                weight=weight,
                objectness=section.objectness,
                note_scaled=False,
            )
        case settings.BinaryCrossEntropyLossConfig():
            return SigmoidLoss(ConstantFocal(-1, 0), statistics, weight=weight)

"""From the settings of a loss to the loss."""

from __future__ import annotations

from dataclasses import replace

from dense_lt.balance.counts import ClassCounts, class_weights
from dense_lt.balance.modulation import (
    ClassWeightedFocal,
    Column,
    ConstantFocal,
    EqualizationV2,
    EqualizedFocal,
)
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.config import frequency_losses as by_frequency
from dense_lt.config import losses as settings
from dense_lt.losses.classification import SigmoidLoss


def build_classification_loss(
    section: settings.ClassificationLossConfig,
    num_classes: int,
    counts: ClassCounts | None = None,
) -> SigmoidLoss:
    """The loss that `section` describes.

    Args:
        section: its settings.
        num_classes: C.
        counts: of the classes in the training data, for the losses that look at it.

    Raises:
        ValueError: the loss needs `counts`.
    """
    statistics = GradientStatistics(
        num_classes,
        decay=section.statistics.decay,
        count_prior=section.statistics.count_prior,
        common_negative=section.statistics.common_negative,
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
        case settings.EqualizationV2LossConfig() | settings.EqualizationV2FocalLossConfig():
            return _equalization_v2(section, statistics)
        case by_frequency.ClassWeightedFocalLossConfig(alpha=alpha, gamma=gamma):
            items = _needed(counts, section)._asdict()[section.count]
            policy = ClassWeightedFocal(
                class_weights(items, section.scheme, beta=section.beta),
                alpha,
                gamma,
                positives_only=section.entries == "positive",
            )
            return SigmoidLoss(policy, statistics, weight=weight)
        case settings.BinaryCrossEntropyLossConfig():
            return SigmoidLoss(ConstantFocal(-1, 0), statistics, weight=weight)


def _equalization_v2(
    section: settings.EqualizationV2LossConfig | settings.EqualizationV2FocalLossConfig,
    statistics: GradientStatistics,
) -> SigmoidLoss:
    policy, objectness = EqualizationV2(section.steepness, section.mu, section.alpha), Column()
    if isinstance(section, settings.EqualizationV2FocalLossConfig):
        alpha, gamma = section.focal_alpha, section.focal_gamma
        policy = replace(policy, focal_alpha=alpha, focal_gamma=gamma)
        # of this logit background is the positive, but objects are what focal loss calls positives
        objects, background = (alpha, 1 - alpha) if alpha >= 0 else (1.0, 1.0)
        objectness = Column(gamma, positive_weight=background, negative_weight=objects)
    return SigmoidLoss(
        policy,
        statistics,
        weight=section.weight,
        objectness=objectness if section.objectness else None,
        note_scaled=False,
    )


def _needed(counts: ClassCounts | None, section: settings.ClassificationLossConfig) -> ClassCounts:
    if counts is None:
        raise ValueError(
            f"the loss `{section.kind}` looks at how often classes occur in the training data; "
            "pass `counts`"
        )
    return counts

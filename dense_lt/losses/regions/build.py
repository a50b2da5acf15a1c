"""From the settings of a loss on regions to the loss."""

from __future__ import annotations

from typing import assert_never

from dense_lt.balance.counts import ClassCounts
from dense_lt.balance.modulation import Column, ConstantFocal, EqualizationV2, EqualizedFocal
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.config import region_losses as settings
from dense_lt.config.losses import EqualizedFocalLossConfig, FocalLossConfig
from dense_lt.losses.regions.base import RegionClassificationLoss
from dense_lt.losses.regions.sigmoid import PartlyModulated, SigmoidRegionLoss
from dense_lt.losses.regions.softmax import SoftmaxLoss


def build_region_loss(
    section: settings.RegionLossConfig, num_classes: int, counts: ClassCounts | None = None
) -> RegionClassificationLoss:
    """The loss that `section` describes, for C = `num_classes` classes; it is a module."""
    statistics = GradientStatistics(
        num_classes,
        decay=section.statistics.decay,
        count_prior=section.statistics.count_prior,
        common_negative=section.statistics.common_negative,
    )
    weight = section.weight
    match section:
        case settings.SoftmaxLossConfig():
            return SoftmaxLoss(statistics, weight=weight)
        case settings.SigmoidLossConfig():
            return SigmoidRegionLoss(
                ConstantFocal(-1, 0),
                statistics,
                weight=weight,
                objectness=Column() if section.objectness else None,
                note_scaled=False,
            )
        case settings.EqualizationV2RegionLossConfig():
            return _equalization_v2(section, statistics)
        case FocalLossConfig(alpha=alpha, gamma=gamma):
            return SigmoidRegionLoss(ConstantFocal(alpha, gamma), statistics, weight=weight)
        case EqualizedFocalLossConfig(alpha=alpha, gamma=gamma, scale=scale):
            return SigmoidRegionLoss(EqualizedFocal(alpha, gamma, scale), statistics, weight=weight)
        case _:
            assert_never(section)


def _equalization_v2(
    section: settings.EqualizationV2RegionLossConfig, statistics: GradientStatistics
) -> SigmoidRegionLoss:
    policy = PartlyModulated(
        EqualizationV2(section.steepness, section.mu, section.alpha),
        negatives=section.reweight_negatives,
        positives=section.reweight_positives,
    )
    return SigmoidRegionLoss(
        policy,
        statistics,
        pairs=section.classifier == "2c_softmax",
        weight=section.weight,
        objectness=Column() if section.objectness else None,
        note_scaled=False,
    )

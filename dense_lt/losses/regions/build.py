"""From the settings of a loss on regions to the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import assert_never

import torch

from dense_lt.balance.counts import ClassCounts, class_weights, effective_margin
from dense_lt.balance.modulation import (
    ClassWeightedFocal,
    Column,
    ConstantFocal,
    EqualizationV2,
    EqualizedFocal,
)
from dense_lt.balance.row_weights import SampledClasses, TailDropping
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.config import region_losses as settings
from dense_lt.config.losses import EqualizedFocalLossConfig, FocalLossConfig
from dense_lt.losses.logits import LogitMap
from dense_lt.losses.regions.base import RegionClassificationLoss
from dense_lt.losses.regions.group_softmax import GroupSoftmaxLoss
from dense_lt.losses.regions.seesaw import SeesawLoss
from dense_lt.losses.regions.sigmoid import PairedLoss, PartlyModulated, SigmoidRegionLoss
from dense_lt.losses.regions.softmax import CountAdjustment, GradientAdjustment, SoftmaxLoss

_SoftmaxSection = (
    settings.SoftmaxLossConfig
    | settings.ClassBalancedSoftmaxLossConfig
    | settings.LogitAdjustedSoftmaxLossConfig
    | settings.SoftmaxEqualizationLossConfig
    | settings.SeesawRegionLossConfig
    | settings.GroupSoftmaxLossConfig
)

CROSS_ENTROPY = ConstantFocal(alpha=-1, gamma=0)


def build_region_loss(
    section: settings.RegionLossConfig, num_classes: int, counts: ClassCounts | None = None
) -> RegionClassificationLoss:
    """The loss that `section` describes; it is a module.

    Args:
        section: its settings.
        num_classes: C.
        counts: of the classes in the training data, for the losses that look at it.

    Raises:
        ValueError: the loss needs `counts`.
    """
    statistics = GradientStatistics(num_classes, **section.statistics.model_dump())
    if isinstance(section, _SoftmaxSection):
        return _softmax(section, statistics, counts)
    return _sigmoid(section, statistics, counts)


def _softmax(
    section: _SoftmaxSection, statistics: GradientStatistics, counts: ClassCounts | None
) -> RegionClassificationLoss:
    build = partial(SoftmaxLoss, statistics, weight=section.weight)
    match section:
        case settings.SoftmaxLossConfig():
            return build()
        case settings.ClassBalancedSoftmaxLossConfig(scheme=scheme, beta=beta):
            weights = class_weights(_items(section, counts, section.count), scheme, beta=beta)
            return build(class_weight=weights)
        case settings.LogitAdjustedSoftmaxLossConfig(tau=tau):
            return build(adjustment=CountAdjustment(_items(section, counts, section.count), tau))
        case settings.SoftmaxEqualizationLossConfig(tau=tau, gradient=gradient, smallest=smallest):
            adjustment = GradientAdjustment(tau, gradient=gradient, smallest=smallest)
            return build(adjustment=adjustment, note_scaled=True)
        case settings.SeesawRegionLossConfig(count=count):
            return SeesawLoss(
                statistics,
                weight=section.weight,
                mitigation=section.mitigation,
                compensation=section.compensation,
                counts=None if count == "online" else torch.tensor(_items(section, counts, count)),
            )
        case settings.GroupSoftmaxLossConfig(boundaries=boundaries, others=others):
            return GroupSoftmaxLoss(
                statistics,
                _items(section, counts, "instances"),
                weight=section.weight,
                boundaries=boundaries,
                others=others,
            )
        case _:
            assert_never(section)


def _sigmoid(
    section: settings.RegionLossConfig, statistics: GradientStatistics, counts: ClassCounts | None
) -> SigmoidRegionLoss | PairedLoss:
    build = partial(
        SigmoidRegionLoss,
        statistics=statistics,
        weight=section.weight,
        federated=section.federated,
        note_scaled=isinstance(section, EqualizedFocalLossConfig | FocalLossConfig),
    )
    match section:
        case settings.SigmoidLossConfig(objectness=objectness):
            return build(CROSS_ENTROPY, objectness=Column() if objectness else None)
        case settings.EqualizationV1RegionLossConfig(threshold=threshold):
            tail = torch.tensor(_items(section, counts, section.count)) < threshold
            return build(CROSS_ENTROPY, row_policy=TailDropping(tail))
        case settings.EqualizationV2RegionLossConfig():
            policy = PartlyModulated(
                EqualizationV2(section.steepness, section.mu, section.alpha),
                negatives=section.reweight_negatives,
                positives=section.reweight_positives,
            )
            loss = build(policy, objectness=Column() if section.objectness else None)
            return loss if section.classifier == "c_sigmoid" else PairedLoss(loss)
        case FocalLossConfig(alpha=alpha, gamma=gamma):
            return build(ConstantFocal(alpha, gamma))
        case EqualizedFocalLossConfig(alpha=alpha, gamma=gamma, scale=scale):
            return build(EqualizedFocal(alpha, gamma, scale))
        case settings.FederatedRegionLossConfig(num_classes=num_classes, exponent=exponent):
            images = torch.tensor(_items(section, counts, "images")).clamp(min=1)
            chance = images.float() ** exponent
            return build(CROSS_ENTROPY, row_policy=SampledClasses(chance, num_classes))
        case settings.EffectiveClassMarginRegionLossConfig(background=background):
            weights, margin = effective_margin(_items(section, counts, "images"), background)
            # to background all items of classes are others: a = 1 / background
            weight, own_margin = math.log1p(background) / background, math.log(background) / 4
            return build(
                ClassWeightedFocal(weights, CROSS_ENTROPY, positives_only=False),
                objectness=Column(positive_weight=weight, negative_weight=weight),
                logit_map=LogitMap(2.0, torch.cat([margin, margin.new_tensor([own_margin])])),
            )
        case _:
            raise AssertionError(f"{section.kind} has a softmax")


def _items(
    section: settings.RegionLossConfig, counts: ClassCounts | None, count: str
) -> Sequence[int]:
    """Training images or instances of every class."""
    if counts is None:
        raise ValueError(
            f"the loss `{section.kind}` looks at how often classes occur in the training data; "
            "pass `counts`"
        )
    return counts._asdict()[count]
